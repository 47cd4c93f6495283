"""What TensorRT's interface takes and must not be given, and what nobody can interpret."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hand_networks import HandMade, drawn, float32, int8, int32, trt
from llmasos_builder.tensorrt.interpreter import InterpretationError, interpret
from llmasos_builder.tensorrt.interpreter.layers import FORMULAS, selection

QKV = (drawn(2, 4, 3, 8), drawn(2, 2, 6, 8, seed=1), drawn(2, 2, 6, 8, seed=2))


def attention(made: HandMade, *, kind: Any = None, kv_heads: int = 2) -> Any:
    query, key, value = QKV
    shared = np.repeat(key, kv_heads, axis=1)[:, :kv_heads]
    layer = made.definition.add_attention_v2(
        made.input(query),
        made.input(shared),
        made.input(np.repeat(value, kv_heads, axis=1)[:, :kv_heads]),
        trt.AttentionNormalizationOp.SOFTMAX,
        trt.CausalMaskKind.NONE if kind is None else kind,
    )
    assert layer is not None
    layer.decomposable = True
    return layer


def refused(made: HandMade, output: Any, problem: str) -> None:
    with pytest.raises(InterpretationError, match=problem):
        made.run(output)


@pytest.mark.parametrize("kind", ["LOWER_RIGHT", "UPPER_LEFT"])
def test_a_mask_beside_a_kind_of_causality_is_dropped_without_an_exception(kind: str) -> None:
    """Only TensorRT's log tells; what is interpreted is what it would compile."""
    results = []
    for masked in (False, True):
        made = HandMade()
        layer = attention(made, kind=getattr(trt.CausalMaskKind, kind))
        if masked:
            mask = made.input(np.zeros((2, 1, 3, 6), bool))
            layer.mask = mask
            made.output(made.definition.add_identity(mask).get_output(0))
        assert layer.mask is None
        results += made.run(layer.get_output(0))
    unmasked, masked_too = results
    assert np.array_equal(unmasked, masked_too)


def test_float32_without_leave_to_decompose() -> None:
    made = HandMade()
    layer = attention(made)
    layer.decomposable = False
    refused(made, layer.get_output(0), "compiler: no kernel takes float32")


def test_keys_of_another_type_than_the_queries() -> None:
    made = HandMade()
    query, key, value = QKV
    layer = made.definition.add_attention_v2(
        made.input(query),
        made.input(key, trt.float16),
        made.input(value, trt.float16),
        trt.AttentionNormalizationOp.SOFTMAX,
        trt.CausalMaskKind.NONE,
    )
    layer.decomposable = True
    refused(made, layer.get_output(0), "documented: query, key and value are of one type")


def test_shares_that_are_quantized() -> None:
    made = HandMade()
    layer = attention(made)
    layer.normalization_quantize_scale = made.constants.float32(0.01)
    refused(made, layer.get_output(0), "quantized shares, .* are not interpreted")


def test_packed_queries() -> None:
    made = HandMade()
    query = made.input(drawn(6, 4, 8), trt.float16)
    key = made.input(drawn(6, 4, 8), trt.float16)
    layer = made.definition.add_attention_v2(
        query, key, key, trt.AttentionNormalizationOp.SOFTMAX, trt.CausalMaskKind.NONE
    )
    layer.query_form = layer.key_value_form = trt.AttentionIOForm.PACKED_NHD
    layer.query_lengths = layer.key_value_lengths = made.input(int32([0, 2, 6]))
    refused(made, layer.get_output(0), "compiler: no kernel takes packed")


def test_lengths_longer_than_the_cache() -> None:
    made = HandMade()
    layer = attention(made)
    layer.key_value_lengths = made.input(int32([3, 7]))
    refused(made, layer.get_output(0), "lengths 3 to 7 do not fit 6 keys")


def cache_update(made: HandMade, cache: Any, *, index: Any = None) -> Any:
    index = made.input(int32([0])) if index is None else index
    update = made.input(np.zeros((1, 1, 2, 4), np.float32))
    layer = made.definition.add_kv_cache_update(cache, update, index, trt.KVCacheMode.LINEAR)
    assert layer is not None
    return layer.get_output(0)


def test_a_cache_that_is_no_input() -> None:
    made = HandMade()
    cache = made.constants.float32(np.zeros((1, 1, 8, 4)))
    refused(made, cache_update(made, cache), "documented: it is updated in place")


def test_a_cache_that_is_no_output() -> None:
    made = HandMade()
    updated = cache_update(made, made.input(np.zeros((1, 1, 8, 4), np.float32)))
    other = made.definition.add_unary(updated, trt.UnaryOperation.NEG).get_output(0)
    refused(made, other, "documented: it is updated in place")


def test_cache_indices_of_64_bits() -> None:
    made = HandMade()
    cache = made.input(np.zeros((1, 1, 8, 4), np.float32))
    index = made.input(np.array([0], np.int64))
    refused(made, cache_update(made, cache, index=index), "compiler: it takes indices of INT32")


def test_a_scale_that_only_a_step_knows() -> None:
    made = HandMade()
    values = made.constants.add(int8([[1, 2]]), trt.int8)
    layer = made.definition.add_dequantize(values, made.input(float32([0.5, 1])), trt.float32)
    layer.axis = 1
    refused(made, layer.get_output(0), "documented: scales must be known")


def test_blocks_of_int4_that_are_named() -> None:
    made = HandMade()
    packed = np.full((2, 16), 0x11, np.uint8)
    values = made.constants.add(packed, trt.int4, shape=(2, 32))
    scales = made.constants.float32([[0.5], [2.0]])
    layer = made.definition.add_dequantize(values, scales, trt.float32)
    layer.block_shape = (1, 32)
    refused(made, layer.get_output(0), "compiler: it finds the blocks of int4 itself")


def test_quantized_rows_that_are_looked_up() -> None:
    made = HandMade()
    table = made.constants.add(int8([[1, 2], [3, 4]]), trt.int8)
    rows = made.definition.add_gather(table, made.input(int32([1])), 0).get_output(0)
    cast = made.definition.add_cast(rows, trt.float32)
    refused(made, cast.get_output(0), "GATHER .* is quantized and constant, so it may only be deq")


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_activations_may_be_quantized_and_dequantized(dtype: str) -> None:
    made = HandMade()
    scale = made.constants.float32(0.5)
    x = made.input(float32([0.3, -0.55, 3.1]))
    layer = made.definition.add_quantize(x, scale, getattr(trt, dtype))
    back = made.definition.add_dequantize(layer.get_output(0), scale, trt.float32)
    (result,) = made.run(back.get_output(0))
    expected = {"int8": [0.5, -0.5, 3.0], "fp8": [0.3125, -0.5625, 3.0]}[dtype]
    assert result.tolist() == expected


def test_activations_whose_scale_only_a_step_knows() -> None:
    made = HandMade()
    x, scale = made.input(drawn(2, 3)), made.input(float32(0.5))
    layer = made.definition.add_quantize(x, scale, trt.fp8)
    back = made.definition.add_dequantize(layer.get_output(0), scale, trt.float32)
    refused(made, back.get_output(0), "QUANTIZE .*documented: scales must be known")


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_a_scale_that_is_not_positive(scale: float) -> None:
    made = HandMade()
    values = made.constants.add(int8([[1, 2]]), trt.int8)
    layer = made.definition.add_dequantize(values, made.constants.float32(scale), trt.float32)
    refused(made, layer.get_output(0), "scales must be positive")


def test_an_unknown_kind_of_layer_is_named() -> None:
    made = HandMade()
    layer = made.definition.add_non_zero(made.input(drawn(3)))
    layer.name = "surprise"
    refused(made, layer.get_output(0), "layer 'surprise' is of the kind NON_ZERO")


def test_an_unknown_operation_of_a_known_kind_is_named() -> None:
    made = HandMade()
    layer = made.definition.add_unary(made.input(drawn(3)), trt.UnaryOperation.ATANH)
    layer.name = "surprise"
    refused(made, layer.get_output(0), "UNARY layer 'surprise': ATANH cannot be interpreted")


def test_a_result_of_another_shape_than_tensorrt_infers(monkeypatch: pytest.MonkeyPatch) -> None:
    made = HandMade()
    layer = made.definition.add_gather(made.input(drawn(5, 2)), made.input(int32([1])), 0)
    wrong = {**FORMULAS, "GATHER": lambda *_: np.zeros((2, 2))}
    assert selection.FORMULAS.keys() <= wrong.keys()
    monkeypatch.setattr("llmasos_builder.tensorrt.interpreter.interpreter.FORMULAS", wrong)
    refused(made, layer.get_output(0), r"gives \[2, 2\], TensorRT infers \[1, 2\]")


@pytest.mark.parametrize(
    ("feeds", "problem"),
    [
        ({}, "input.0 is not given"),
        ({"input.0": np.zeros((2, 3)), "other": np.zeros(1)}, "no input other"),
        ({"input.0": np.zeros((2, 4))}, r"input.0 has the shape \[2, 4\], \[-1, 3\] expected"),
    ],
)
def test_inputs_must_fit(feeds: dict[str, Any], problem: str) -> None:
    made = HandMade()
    x = made.input(np.zeros((2, 3), np.float32), shape=(-1, 3))
    made.output(made.definition.add_unary(x, trt.UnaryOperation.NEG).get_output(0))
    with pytest.raises(InterpretationError, match=problem):
        interpret(made.definition, feeds, {})
