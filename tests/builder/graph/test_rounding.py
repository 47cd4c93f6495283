"""A weight in a smaller precision is the nearest one that there is."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from llmasos_builder.graph.rounding import rounded, to_bf16_bits


def test_bf16_rounds_to_nearest_and_ties_to_even() -> None:
    step = 2.0**-7
    values = np.array([1 + 0.5 * step, 1 + 1.5 * step, 1 + 0.6 * step, -1 - 0.4 * step])
    expected = np.array([1, 1 + 2 * step, 1 + step, -1])
    assert np.array_equal(rounded(values.astype(np.float32), "bf16"), expected)
    bits = to_bf16_bits(values.astype(np.float32))
    assert np.array_equal(bits.view(ml_dtypes.bfloat16).astype(np.float64), expected)


def test_f32_is_what_it_was() -> None:
    values = np.ones((3, 5), np.float32)
    assert rounded(values, "f32") is values
