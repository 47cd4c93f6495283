"""Compiles a network into machine code for CPUs: one function that computes a whole step."""
