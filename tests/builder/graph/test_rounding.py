"""A weight in a smaller precision is the nearest one that there is."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from llmasos_builder.graph import Array, rounding
from llmasos_builder.graph.rounding import quantize_rows, rounded, to_bf16_bits


def matrix(*, rows: int = 37, columns: int = 64, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    values: Array = rng.normal(0, 1, (rows, columns)).astype(np.float32)
    values *= np.exp(rng.normal(0, 3, (rows, 1))).astype(np.float32)
    return values


def test_int8_is_within_half_a_step_and_uses_the_whole_range() -> None:
    values = matrix()
    quantized, scales = quantize_rows(values)
    assert (str(quantized.dtype), str(scales.dtype)) == ("int8", "float32")
    assert (quantized.shape, scales.shape) == ((37, 64), (37, 1))
    assert np.all(np.abs(quantized.astype(int)).max(axis=1) == 127)
    np.testing.assert_allclose(scales[:, 0], np.abs(values).max(axis=1) / 127, rtol=1e-6)
    assert np.all(np.abs(quantized * scales - values) <= scales * 0.5001)


def test_int8_of_a_row_depends_on_that_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    values = matrix()
    quantized, scales = quantize_rows(values)
    monkeypatch.setattr(rounding, "_BLOCK_ELEMENTS", 3 * 64)
    again, scales_again = quantize_rows(values)
    assert np.array_equal(again, quantized) and np.array_equal(scales_again, scales)
    assert np.array_equal(quantize_rows(-values)[0], -quantized)


def test_a_row_of_zeros_stays_zero() -> None:
    values = matrix()
    values[3] = 0
    quantized, scales = quantize_rows(values)
    assert not quantized[3].any() and scales[3] == 1


@pytest.mark.parametrize("size", [1e-45, 1e-44, 2e-43, 1e-40])
def test_values_too_small_for_a_precise_scale_keep_their_sign(size: float) -> None:
    values = np.array([[size, -size, 0.0]], np.float32)
    left = rounded(values, "int8")
    assert np.all(np.abs(left) <= 2 * size) and np.all(left * values >= 0)


def test_bf16_rounds_to_nearest_and_ties_to_even() -> None:
    step = 2.0**-7
    values = np.array([1 + 0.5 * step, 1 + 1.5 * step, 1 + 0.6 * step, -1 - 0.4 * step])
    expected = np.array([1, 1 + 2 * step, 1 + step, -1])
    assert np.array_equal(rounded(values.astype(np.float32), "bf16"), expected)
    bits = to_bf16_bits(values.astype(np.float32))
    assert np.array_equal(bits.view(ml_dtypes.bfloat16).astype(np.float64), expected)


def test_f32_is_what_it_was() -> None:
    values = matrix()
    assert rounded(values, "f32") is values
