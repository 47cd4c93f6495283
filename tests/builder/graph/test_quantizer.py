"""Codes and scales of int8 and int4 rows, and what is left of the values."""

from __future__ import annotations

import hashlib
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from llmasos.engine.weight_format import FORMATS, WeightFormat
from llmasos_builder.graph import Array, quantizer
from llmasos_builder.graph.quantizer import CPU_METHODS, QuantizedRows
from llmasos_builder.graph.rounding import rounded
from llmasos_builder.openvino.weights import make_weight, weight_of_rows
from llmasos_builder.tensorrt.quantization import dequantize, matrix_of_rows, quantize
from numpy.typing import NDArray


def matrix(*, rows: int = 37, columns: int = 64, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    values: Array = rng.normal(0, 1, (rows, columns)).astype(np.float32)
    values *= np.exp(rng.normal(0, 3, (rows, 1))).astype(np.float32)
    return values


def quantize_rows(values: Array) -> tuple[NDArray[np.int8], NDArray[Any]]:
    """int8 codes [out, in] and scales [out, 1]."""
    rows = quantizer.quantize_rows(values, FORMATS["int8"])
    return rows.codes[:, 0], rows.scales[:, 0]


def quantize_groups(values: Array) -> tuple[NDArray[np.int8], NDArray[Any]]:
    """int4 codes [out, groups, group] and scales [out, groups, 1], as on CPUs."""
    rows = quantizer.quantize_rows(values, FORMATS["int4"], method=CPU_METHODS["int4"])
    return rows.codes, rows.scales


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
    monkeypatch.setattr(quantizer, "_BLOCK_ELEMENTS", 3 * 64)
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


def test_an_int4_group_is_the_largest_that_divides_a_row() -> None:
    groups = [FORMATS["int4"].group_of(columns) for columns in (576, 1536, 160, 32, 80, 16)]
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


@pytest.mark.parametrize("scale_type", [np.float16, ml_dtypes.bfloat16, np.float32])
@pytest.mark.parametrize("method", ["rtn", "rtn-clip-search"])
def test_codes_that_another_has_chosen_stay(method: Any, scale_type: Any) -> None:
    """Whatever their largest is; also where the groups here are parts of theirs."""
    rng = np.random.default_rng(0)
    most = rng.integers(0, 8, (40, 6, 1))
    codes = rng.integers(-8, 8, (40, 6, 64)).clip(-most - 1, most)
    scales = rng.normal(0, 0.01, (40, 6, 1)).astype(scale_type)
    values: Any = (codes * scales.astype(np.float32)).astype(np.float32).reshape(40, 384)
    for group in (64, 32):
        stored = WeightFormat(kind="int4", group_size=group)
        rows = quantizer.quantize_rows(values, stored, method=method, scale_type=scale_type)
        left = rows.values()
        if scale_type is np.float32:  # whose quotients are not exact
            np.testing.assert_allclose(left, values, rtol=1e-6)
        else:
            assert np.array_equal(left, values)


def test_int4_of_a_row_depends_on_that_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    values = matrix()
    expected = rounded(values, "int4")
    monkeypatch.setattr(quantizer, "_BLOCK_ELEMENTS", 3 * 64)
    assert np.array_equal(rounded(values, "int4"), expected)


@pytest.mark.parametrize("size", [0, 1e-45, 1e-40])
def test_int4_of_next_to_nothing_is_next_to_nothing(size: float) -> None:
    values = np.zeros((2, 32), np.float32)
    values[1, ::2], values[1, 5] = size, -size
    left = rounded(values, "int4")
    assert np.isfinite(left).all() and np.abs(left).max() <= 8 * size


def digest(*arrays: NDArray[Any]) -> str:
    content = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    return hashlib.sha256(content).hexdigest()[:16]


def exact_matrix() -> Array:
    """Numbers that every platform makes alike, in rows of many sizes, one of them zeros."""
    rng = np.random.default_rng(0)
    values: Array = rng.integers(-(1 << 20), 1 << 20, (24, 320)).astype(np.float32)
    values *= np.exp2(rng.integers(-40, 8, (24, 1)), dtype=np.float32)
    values[3] = 0
    return values


def test_codes_and_scales_stay_bit_for_bit_what_built_engines_have() -> None:
    values = exact_matrix()
    assert digest(*quantize_rows(values)) == "6b81a1882a1fc054"
    assert digest(*quantize_groups(values)) == "d7fcf2b352409f2e"
    for precision, expected in (("int8", "41dd6dbd3ff6a625"), ("int4", "5241e9439418d540")):
        in_range = values.clip(-60000, 60000)
        found = quantize("w", in_range, precision, "fp16")  # type: ignore[arg-type]
        assert digest(found.values, found.scales) == expected


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_compilers_take_codes_that_are_given(precision: Any) -> None:
    rng = np.random.default_rng(1)
    least, most, groups = {"int8": (-127, 127, 1), "int4": (-8, 7, 3)}[precision]
    codes = rng.integers(least, most + 1, (5, groups, 192 // groups)).astype(np.int8)
    scales = rng.uniform(0.5, 2, (5, groups, 1)).astype(np.float16)
    given = QuantizedRows(format=FORMATS[precision], codes=codes, scales=scales)
    values: Any = (codes * scales.astype(np.float32)).reshape(5, 192)
    assert np.array_equal(given.values(), values)
    weight = weight_of_rows("w", given)
    assert weight.kind == make_weight("w", values, precision).kind
    assert weight.scales is not None
    assert np.array_equal((weight.values * weight.scales).reshape(5, 192), values)
    left = dequantize(matrix_of_rows(given), "fp16")
    assert np.array_equal(left, values.astype(np.float16).astype(np.float32))


def test_scales_are_exact_in_the_type_that_they_are_stored_in() -> None:
    rows = quantizer.quantize_rows(
        matrix(), FORMATS["int4"], method="rtn-clip-search", scale_type=np.float16
    )
    assert rows.scales.dtype == np.float16
    nearest = np.rint(matrix().reshape(rows.codes.shape) / rows.scales.astype(np.float32))
    assert np.array_equal(rows.codes, nearest.clip(-8, 7))


@pytest.mark.parametrize("codes", [np.full((2, 1, 64), 8), np.full((2, 1, 48), 1)])
def test_codes_outside_the_format_are_no_rows_of_it(codes: Any) -> None:
    with pytest.raises(AssertionError):
        QuantizedRows(
            format=FORMATS["int4"], codes=codes.astype(np.int8), scales=np.ones((2, 1, 1))
        )
