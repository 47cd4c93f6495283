"""Quantized weights: what is stored, and how far it is from what it stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmasos.engine.weight_format import FORMATS
from llmasos.errors import InvalidRequestError
from llmasos_builder.tensorrt.quantization import dequantize, quantize

# Half a step, of the largest value that shares a scale; fp8 and fp4 steps grow with the value.
HALF_A_STEP = {"int8": 0.5 / 127, "int4": 0.5 / 7, "fp8": 1 / 16, "nvfp4": 1 / 6}


def draw(rows: int, columns: int, *, seed: int = 0, size: float = 1.0) -> Any:
    values = np.random.default_rng(seed).normal(0, size, (rows, columns))
    return values.astype(np.float32)


@pytest.mark.parametrize("precision", HALF_A_STEP)
@given(seed=st.integers(0, 1000), exponent=st.integers(-12, 8))
def test_no_value_moves_by_more_than_half_a_step(precision: Any, seed: int, exponent: int) -> None:
    values = draw(6, 64, seed=seed, size=2.0**exponent)
    left = dequantize(quantize("w", values, precision, "fp16"), "fp16")
    groups = {"int8": 64, "int4": 64, "fp8": 6 * 64, "nvfp4": 16}[precision]
    largest = np.abs(values.reshape(-1, groups)).max(axis=1)
    allowed = np.repeat(largest * HALF_A_STEP[precision], groups).reshape(values.shape)
    # fp16 rounds the product once more, and nvfp4's scales have three bits.
    slack = np.abs(values) * (0.1 if precision == "nvfp4" else 2**-10) + largest.max() * 2**-9
    assert (np.abs(left - values) <= allowed + slack).all()


@pytest.mark.parametrize("precision", HALF_A_STEP)
def test_zeros_stay_zeros(precision: Any) -> None:
    zeros = np.zeros((4, 32), np.float32)
    assert not dequantize(quantize("w", zeros, precision, "fp16"), "fp16").any()


def test_int4_packs_the_first_value_low() -> None:
    values = np.zeros((1, 32), np.float32)
    values[0, :4] = [7, -1, 3, -7]
    packed = quantize("w", values, "int4", "fp16").values
    assert packed[0, :2].tolist() == [0xF7, 0x93]


def test_nvfp4_packs_the_first_value_low() -> None:
    values = np.zeros((1, 16), np.float32)
    values[0, :3] = [6, -6, 3]
    packed = quantize("w", values, "nvfp4", "fp16").values
    assert packed[0, :2].tolist() == [0xF7, 0x05]


def test_scales_are_rounded_up_so_that_nothing_leaves_the_range() -> None:
    values = draw(512, 64, size=1e-4)
    matrix = quantize("w", values, "int8", "fp16")
    exact = np.abs(values).max(axis=1) / 127
    assert (matrix.scales.astype(np.float64) >= exact).all()
    assert np.abs(matrix.values.astype(int)).max() <= 127


@pytest.mark.parametrize(("width", "group"), [(128, 128), (576, 64), (1536, 128), (96, 32)])
def test_int4_groups_are_as_large_as_they_can_be(width: int, group: int) -> None:
    assert FORMATS["int4"].group_of(width) == group
    matrix = quantize("w", draw(4, width), "int4", "fp16")
    assert matrix.scales.shape == (4, width // group)


@pytest.mark.parametrize(("precision", "width"), [("int4", 48), ("nvfp4", 24)])
def test_a_matrix_that_does_not_divide_is_named(precision: Any, width: int) -> None:
    with pytest.raises(
        InvalidRequestError, match=f"precision {precision} .*odd.weight has {width}"
    ):
        quantize("odd.weight", draw(4, width), precision, "fp16")


def test_many_rows_are_quantized_as_one_is() -> None:
    values = draw(3, 1 << 21)
    whole = quantize("w", values, "int8", "fp16").values
    for row in range(3):
        alone = quantize("w", values[row : row + 1], "int8", "fp16").values
        assert np.array_equal(alone[0], whole[row])
