"""Structured pruning: parts of a checkpoint that matter least are left out."""
