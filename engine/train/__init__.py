"""Pretraining of nano and the two stages of fine-tuning."""
