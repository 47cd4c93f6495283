"""Checkpoints that torch pickled, read without running them."""
