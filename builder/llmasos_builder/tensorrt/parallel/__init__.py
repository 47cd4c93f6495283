"""Tensor parallelism (each matrix over ranks) and pipeline parallelism (layers over stages)."""
