"""Weight-only quantization, and methods that reduce its loss."""
