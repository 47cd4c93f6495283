"""Families of checkpoints: their config.json and the names of their tensors."""
