"""A weight in a smaller precision is the nearest one that there is."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from llmasos_builder.graph import Array, rounding
from llmasos_builder.graph.rounding import (
    int4_group,
    quantize_groups,
    quantize_rows,
    rounded,
    to_bf16_bits,
)


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


def test_an_int4_group_is_the_largest_that_divides_a_row() -> None:
    groups = [int4_group(columns) for columns in (576, 1536, 160, 32, 80, 16)]
    assert groups == [64, 128, 32, 32, None, None]


def test_int4_has_sixteen_values_and_a_scale_for_each_group() -> None:
    values = matrix(columns=192)
    quantized, scales = quantize_groups(values)
    assert (str(quantized.dtype), str(scales.dtype)) == ("int8", "float32")
    assert (quantized.shape, scales.shape) == ((37, 3, 64), (37, 3, 1))
    assert (quantized.min(), quantized.max()) == (-8, 7)
    assert np.all(np.abs(quantized.astype(int)).max(axis=2) >= 7)
    left = (quantized * scales).reshape(values.shape)
    assert np.array_equal(rounded(values, "int4"), left)


def test_int4_is_closer_than_with_the_largest_for_7_where_it_matters() -> None:
    """That is, with each squared error counted by its value's size; here of a normal row."""
    values = np.random.default_rng(0).normal(0, 1, (64, 576)).astype(np.float32)
    groups = values.reshape(64, 9, 64)
    scale = np.abs(groups).max(axis=2, keepdims=True) / 7
    plain = (np.rint(groups / scale) * scale).reshape(values.shape)

    def cost(left: Array) -> float:
        return float((np.square(left - values) * np.abs(values)).sum())

    assert cost(rounded(values, "int4")) < 0.8 * cost(plain)


def test_what_int4_can_say_exactly_stays() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-8, 8, (5, 64)).astype(np.float32)
    values[:, 0] = -8
    for scale in (1.0, -0.5, 2.0**-100):
        assert np.array_equal(rounded(values * np.float32(scale), "int4"), values * scale)


def test_int4_of_a_row_depends_on_that_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    values = matrix()
    expected = rounded(values, "int4")
    monkeypatch.setattr(rounding, "_BLOCK_ELEMENTS", 3 * 64)
    assert np.array_equal(rounded(values, "int4"), expected)


@pytest.mark.parametrize("size", [0, 1e-45, 1e-40])
def test_int4_of_next_to_nothing_is_next_to_nothing(size: float) -> None:
    values = np.zeros((2, 32), np.float32)
    values[1, ::2], values[1, 5] = size, -size
    left = rounded(values, "int4")
    assert np.isfinite(left).all() and np.abs(left).max() <= 8 * size
