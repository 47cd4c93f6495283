"""Continuous batching: chooses the sequences and tokens of the next step."""
