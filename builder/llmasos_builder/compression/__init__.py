"""Smaller weights: quantization, and what makes it lose less."""
