"""Constants that numpy has no type for, and what their scales make of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hand_networks import Array, HandMade, drawn, float32, int8, trt
from llmasos_builder.tensorrt.interpreter import InterpretationError, interpret


def dequantized(
    made: HandMade, values: Any, scale: Any, *, axis: int | None = None, block: Any = None
) -> Any:
    layer = made.definition.add_dequantize(values, scale, trt.float32)
    if axis is not None:
        layer.axis = axis
    if block is not None:
        layer.block_shape = block
    return layer.get_output(0)


def test_int8_has_a_scale_for_each_row() -> None:
    made = HandMade()
    values = made.constants.add(int8([[-128, 1], [127, 0]]), trt.int8)
    scale = made.constants.float32([0.5, 2])
    (result,) = made.run(dequantized(made, values, scale, axis=0))
    assert result.tolist() == [[-64, 0.5], [254, 0]]


def test_int4_has_two_values_in_a_byte_and_a_scale_for_each_block() -> None:
    made = HandMade()
    packed = np.full((2, 16), 0x7F, np.uint8)  # low half -1, high half 7
    packed[0, 0] = 0x80  # 0, then -8
    packed[1, -1] = 0x1E  # -2, then 1
    values = made.constants.add(packed, trt.int4, shape=(2, 32))
    scale = made.constants.float32([[0.5], [2.0]])
    (result,) = made.run(dequantized(made, values, scale))
    expected = np.tile([-1.0, 7.0], (2, 16))
    expected[0, :2], expected[1, -2:] = (0, -8), (-2, 1)
    assert np.array_equal(result, expected * [[0.5], [2]])


def test_int4_blocks_lie_along_the_input() -> None:
    made = HandMade()
    values = made.constants.add(np.full((2, 32), 0x11, np.uint8), trt.int4, shape=(2, 64))
    scale = float32([[1, 2], [3, 4]])
    (result,) = made.run(dequantized(made, values, made.constants.float32(scale)))
    assert np.array_equal(result, np.repeat(scale, 32, axis=1))


def test_fp8_has_one_scale() -> None:
    x = float32([[1.0625, -448], [0.3, 0]])
    made = HandMade()
    values = made.constants.add(x.astype(ml_dtypes.float8_e4m3fn), trt.fp8)
    (result,) = made.run(dequantized(made, values, made.constants.float32(0.5)))
    # Three bits of mantissa: 1.0625 is a tie that goes to the even 1; 0.3 becomes 0.3125.
    assert result.tolist() == [[0.5, -224], [0.15625, 0]]


def test_nvfp4_has_scales_that_are_scaled() -> None:
    made = HandMade()
    # E2M1, all codes in order: 0 .5 1 1.5 2 3 4 6, and the same below zero.
    codes = np.arange(16, dtype=np.uint8)
    packed = (codes[0::2] | codes[1::2] << 4).reshape(1, 8).repeat(2, axis=0)
    values = made.constants.add(packed, trt.fp4, shape=(2, 16))
    scales = made.constants.add(np.array([[0.5], [3]], ml_dtypes.float8_e4m3fn), trt.fp8)
    exact = dequantized(made, scales, made.constants.float32(4))
    (result,) = made.run(dequantized(made, values, exact, block=(1, 16)))
    magnitudes = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    assert np.array_equal(result, np.outer([2, 12], [*magnitudes, *-magnitudes]))


def test_scales_that_tensorrt_refuses_are_no_network() -> None:
    made = HandMade()
    values = made.constants.add(np.zeros((1, 8), np.uint8), trt.fp4, shape=(1, 16))
    scale = made.constants.float32([[1]])  # a block scale, and yet a single one
    with pytest.raises(InterpretationError, match="TensorRT refuses what gives"):
        made.run(dequantized(made, values, scale, block=(1, 16)))


def test_activations_are_quantized_to_fp8_within_its_range() -> None:
    made = HandMade()
    scale = made.constants.float32(0.5)
    x = made.input(float32([1e6, -0.53125, 0.1]))
    quantized = made.definition.add_quantize(x, scale, trt.fp8).get_output(0)
    (result,) = made.run(dequantized(made, quantized, scale))
    assert result.tolist() == [224, -0.5, 0.1015625]


def test_activations_are_quantized_to_int8_within_its_range() -> None:
    made = HandMade()
    scale = made.constants.float32(0.5)
    x = made.input(float32([1e6, -1e6, 0.25, 0.75]))
    quantized = made.definition.add_quantize(x, scale, trt.int8).get_output(0)
    (result,) = made.run(dequantized(made, quantized, scale))
    assert result.tolist() == [63.5, -64, 0, 1]


def bf16_constant() -> tuple[HandMade, Array]:
    made = HandMade("bf16")
    x = drawn(3)
    constant = made.constants.of_compute_type(x, name="weight")
    made.output(made.definition.add_cast(constant, trt.float32).get_output(0))
    return made, x


def test_a_bf16_constant_comes_from_what_was_given() -> None:
    made, x = bf16_constant()
    (result,) = interpret(made.definition, {}, made.constants.by_name).values()
    assert np.array_equal(result, x.astype(ml_dtypes.bfloat16).astype(np.float32))


@pytest.mark.parametrize(
    ("kept", "problem"),
    [
        ({}, "nothing was kept of it"),
        ({"shape": (1, 3)}, r"BF16\[1, 3\] was kept"),
        ({"values": np.zeros(2, ml_dtypes.bfloat16)}, "2 values were kept"),
        ({"dtype": trt.float16}, r"HALF\[3\] was kept"),
    ],
)
def test_what_was_kept_must_be_what_the_network_has(kept: dict[str, Any], problem: str) -> None:
    made, _ = bf16_constant()
    constants: Mapping[str, Any] = (
        {"weight": replace(made.constants.by_name["weight"], **kept)} if kept else {}
    )
    with pytest.raises(InterpretationError, match=f"CONSTANT layer 'weight': .*{problem}"):
        interpret(made.definition, {}, constants)
