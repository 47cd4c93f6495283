"""Weights whose values a definition changes before a compiler gets them."""

from __future__ import annotations

import numpy as np

from llmasos_builder.graph import Array


def scaled_values(values: Array, *, factor: float = 1.0, offset: float = 0.0) -> Array:
    """Scales and shifts; broadcast (stride-0) arrays stay broadcast."""
    if (factor, offset) == (1.0, 0.0):
        return values
    if any(values.strides):
        values = values * np.float32(factor)
        values += np.float32(offset)
        return values
    return np.broadcast_to(values.flat[0] * np.float32(factor) + np.float32(offset), values.shape)
