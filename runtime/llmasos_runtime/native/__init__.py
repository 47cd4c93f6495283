"""Runs native engines: machine code that the builder made, on the CPU."""
