"""FUSAR-GPT on Qwen2.5-VL, and the nano configuration."""
