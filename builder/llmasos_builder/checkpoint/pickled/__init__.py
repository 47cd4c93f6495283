"""Checkpoints that torch pickled, read without running the pickle."""
