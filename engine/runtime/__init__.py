"""What the daemon may import of the engine: numpy and tokenizers, no torch."""
