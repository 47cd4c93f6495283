"""Checkpoints as Hugging Face saves them."""
