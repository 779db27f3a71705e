"""The ablation: what each part of the model earns, from one shared base with equal fine-tuning."""
