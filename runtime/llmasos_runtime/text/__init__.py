"""Detokenization: from tokens to text, piece by piece."""
