"""Checkpoints in the form that Hugging Face's libraries save."""
