"""Offline: data, training, export and evaluation of the model; and its runtime."""
