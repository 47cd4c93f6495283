"""Checkpoints whose matrices are quantized already: one module for each library's layout."""
