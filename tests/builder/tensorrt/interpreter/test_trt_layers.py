"""Every kind of layer alone, against a plain formula."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hand_networks import Array, HandMade, close, drawn, float32, int32, trt
from llmasos_builder.tensorrt.interpreter import InterpretationError


@pytest.mark.parametrize(
    ("operation", "formula"),
    [
        ("SUM", lambda a, b: a + b),
        ("SUB", lambda a, b: a - b),
        ("PROD", lambda a, b: a * b),
        ("DIV", lambda a, b: a / b),
        ("MAX", max),
        ("MIN", min),
        ("POW", lambda a, b: a**b),
        ("LESS", lambda a, b: a < b),
        ("GREATER", lambda a, b: a > b),
        ("EQUAL", lambda a, b: a == b),
    ],
)
def test_elementwise(operation: str, formula: Any) -> None:
    a, b = np.abs(drawn(3, 4)) + 0.1, drawn(1, 4, seed=1)
    made = HandMade()
    kind = getattr(trt.ElementWiseOperation, operation)
    layer = made.definition.add_elementwise(made.input(a), made.input(b), kind)
    (result,) = made.run(layer.get_output(0))
    expected = [[formula(a[i, j], b[0, j]) for j in range(4)] for i in range(3)]
    close(result, np.array(expected))


def test_integers_divide_towards_zero_and_wrap() -> None:
    made = HandMade()
    a, b = made.input(int32([-7, 7, 2**31 - 1])), made.input(int32([2, -2, 1]))
    quotient, total = (
        made.definition.add_elementwise(a, b, kind).get_output(0)
        for kind in (trt.ElementWiseOperation.DIV, trt.ElementWiseOperation.SUM)
    )
    results = made.run(quotient, total)
    assert [r.tolist() for r in results] == [[-3, -3, 2**31 - 1], [-5, 5, -(2**31)]]


@pytest.mark.parametrize(
    ("operation", "formula"),
    [
        ("SQRT", math.sqrt),
        ("EXP", math.exp),
        ("LOG", math.log),
        ("RECIP", lambda x: 1 / x),
        ("NEG", lambda x: -x),
        ("ABS", abs),
        ("ERF", math.erf),
        ("SIN", math.sin),
        ("COS", math.cos),
    ],
)
def test_unary(operation: str, formula: Any) -> None:
    x = np.abs(drawn(7)) + 0.1
    made = HandMade()
    layer = made.definition.add_unary(made.input(x), getattr(trt.UnaryOperation, operation))
    (result,) = made.run(layer.get_output(0))
    close(result, [formula(float(v)) for v in x])


@pytest.mark.parametrize(
    ("kind", "formula"),
    [
        ("RELU", lambda x: max(x, 0)),
        ("SIGMOID", lambda x: 1 / (1 + math.exp(-x))),
        ("TANH", math.tanh),
        ("GELU_ERF", lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2)))),
        (
            "GELU_TANH",
            lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        ),
    ],
)
def test_activation(kind: str, formula: Any) -> None:
    x = 3 * drawn(20)
    made = HandMade()
    layer = made.definition.add_activation(made.input(x), getattr(trt.ActivationType, kind))
    (result,) = made.run(layer.get_output(0))
    close(result, [formula(float(v)) for v in x])


def test_matrix_products_are_summed_in_float32_and_rounded_once() -> None:
    a, b = drawn(5, 8), drawn(6, 8, seed=1)
    halves = [x.astype(np.float16) for x in (a, b)]
    made = HandMade("fp16")
    operation = trt.MatrixOperation
    layer = made.definition.add_matrix_multiply(
        made.input(a, trt.float16),
        operation.NONE,
        made.constants.of_compute_type(b),
        operation.TRANSPOSE,
    )
    (result,) = made.run(layer.get_output(0))
    exact = halves[0].astype(np.float32) @ halves[1].astype(np.float32).T
    assert np.array_equal(result, exact.astype(np.float16).astype(np.float32))
    assert not np.array_equal(result, exact)
    (unrounded,) = made.run(layer.get_output(0), rounding=False)
    close(unrounded, a @ b.T, tolerance=1e-2)


def test_a_cast_to_bf16_rounds_to_the_nearest() -> None:
    x = drawn(100)
    made = HandMade()
    cast = made.definition.add_cast(made.input(x), trt.bfloat16).get_output(0)
    (result,) = made.run(made.definition.add_cast(cast, trt.float32).get_output(0))
    assert np.array_equal(result, x.astype(ml_dtypes.bfloat16).astype(np.float32))


@pytest.mark.parametrize(
    ("operation", "formula"),
    [("SUM", np.sum), ("AVG", np.mean), ("MAX", np.max), ("MIN", np.min)],
)
def test_reduce(operation: str, formula: Any) -> None:
    x = drawn(2, 3, 4)
    made = HandMade()
    kind = getattr(trt.ReduceOperation, operation)
    layer = made.definition.add_reduce(made.input(x), kind, 0b101, True)
    (result,) = made.run(layer.get_output(0))
    close(result, formula(x, axis=(0, 2))[None, :, None])


def test_softmax() -> None:
    x = 100 * drawn(3, 5)
    made = HandMade()
    layer = made.definition.add_softmax(made.input(x))
    layer.axes = 0b10
    (result,) = made.run(layer.get_output(0))
    expected = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    close(result, expected / expected.sum(axis=1, keepdims=True))


def test_layer_normalization() -> None:
    x, scale, bias = drawn(3, 8), drawn(1, 8, seed=1), drawn(1, 8, seed=2)
    made = HandMade()
    layer = made.definition.add_normalization_v2(
        made.input(x), made.constants.float32(scale), made.constants.float32(bias), 0b10
    )
    layer.epsilon = 0.1
    (result,) = made.run(layer.get_output(0))
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    close(result, (x - mean) / np.sqrt(variance + 0.1) * scale + bias)


def test_shuffle_transposes_reshapes_and_transposes() -> None:
    x = drawn(2, 3, 4)
    made = HandMade()
    layer = made.definition.add_shuffle(made.input(x, shape=(-1, 3, 4)))
    layer.first_transpose = trt.Permutation([1, 0, 2])
    layer.reshape_dims = (0, -1, 2)
    layer.second_transpose = trt.Permutation([2, 1, 0])
    (result,) = made.run(layer.get_output(0))
    expected = x.transpose(1, 0, 2).reshape(3, -1, 2).transpose(2, 1, 0)
    assert np.array_equal(result, expected)


def test_shuffle_takes_a_shape_that_the_network_computes() -> None:
    x, like = drawn(6, 4), np.zeros((2, 3), np.int32)
    made = HandMade()
    sizes = made.definition.add_shape(made.input(like, shape=(-1, -1))).get_output(0)
    both = made.definition.add_concatenation([sizes, made.constants.int64(2, 2)])
    both.axis = 0
    layer = made.definition.add_shuffle(made.input(x, shape=(-1, 4)))
    layer.set_input(1, both.get_output(0))
    layer.second_transpose = trt.Permutation([0, 2, 1, 3])
    (result,) = made.run(layer.get_output(0))
    assert np.array_equal(result, x.reshape(2, 3, 2, 2).transpose(0, 2, 1, 3))


def test_a_transposition_alone_reshapes_nothing() -> None:
    x = drawn(2, 3)
    made = HandMade()
    layer = made.definition.add_shuffle(made.input(x))
    layer.first_transpose = trt.Permutation([1, 0])
    (result,) = made.run(layer.get_output(0))
    assert np.array_equal(result, x.T)


def test_slice_with_a_size_that_the_network_computes() -> None:
    x = drawn(5, 8)
    made = HandMade()
    layer = made.definition.add_slice(made.input(x, shape=(-1, 8)), (0, 2), (1, 3), (1, 2))
    layer.set_input(2, made.constants.int64(4, 3))
    (result,) = made.run(layer.get_output(0))
    assert np.array_equal(result, x[:4, 2:8:2])


def test_a_slice_that_leaves_its_input_is_refused() -> None:
    made = HandMade()
    layer = made.definition.add_slice(made.input(drawn(5), shape=(-1,)), (3,), (1,), (1,))
    layer.set_input(2, made.constants.int64(3))
    with pytest.raises(InterpretationError, match="leaves"):
        made.run(layer.get_output(0))


def test_axes_come_and_go() -> None:
    x = drawn(2, 3)
    made = HandMade()
    wide = made.definition.add_unsqueeze(made.input(x), made.constants.int64(1, 3)).get_output(0)
    back = made.definition.add_squeeze(wide, made.constants.int64(1)).get_output(0)
    results = made.run(wide, back)
    assert [r.shape for r in results] == [(2, 1, 3, 1), (2, 3, 1)]
    assert np.array_equal(results[0][:, 0, :, 0], x)


def test_concatenation() -> None:
    a, b = drawn(2, 3), drawn(2, 1, seed=1)
    made = HandMade()
    layer = made.definition.add_concatenation([made.input(a), made.input(b)])
    layer.axis = 1
    (result,) = made.run(layer.get_output(0))
    assert np.array_equal(result, np.hstack([a, b]))


def test_gather_and_select() -> None:
    table, rows = drawn(5, 2), int32([[4, 0], [1, 1]])
    made = HandMade()
    gathered = made.definition.add_gather(made.input(table), made.input(rows), 0).get_output(0)
    condition = made.input(np.array([[[True]], [[False]]]))
    zero = made.constants.float32(np.zeros((1, 1, 1)))
    selected = made.definition.add_select(condition, gathered, zero).get_output(0)
    results = made.run(gathered, selected)
    assert np.array_equal(results[0], np.array([[table[4], table[0]], [table[1], table[1]]]))
    assert np.array_equal(results[1][0], results[0][0]) and not results[1][1].any()


@pytest.mark.parametrize("row", [-1, 5])
def test_gather_refuses_a_row_that_is_not_there(row: int) -> None:
    made = HandMade()
    layer = made.definition.add_gather(made.input(drawn(5, 2)), made.input(int32([row])), 0)
    with pytest.raises(InterpretationError, match="do not fit 5 rows"):
        made.run(layer.get_output(0))


def test_topk_is_sorted_and_takes_the_first_of_equals() -> None:
    made = HandMade()
    x = made.input(float32([[1, 3, 2, 3], [0, -1, 5, 4]]))
    layer = made.definition.add_topk(x, trt.TopKOperation.MAX, 3, 0b10)
    values, indices = made.run(layer.get_output(0), layer.get_output(1))
    assert values.tolist() == [[3, 3, 2], [5, 4, 0]]
    assert indices.tolist() == [[1, 3, 2], [2, 3, 0]]


@pytest.mark.parametrize(("interleaved", "turned"), [(False, 8), (True, 8), (False, 4)])
def test_rotary_turns_pairs_like_complex_numbers(interleaved: bool, turned: int) -> None:
    x, positions = drawn(2, 3, 4, 8), int32([[0, 1, 2, 3], [7, 8, 9, 5]])
    angles = np.outer(np.arange(10), [1.0, 0.5, 0.25, 0.1][: turned // 2])
    made = HandMade()
    layer = made.definition.add_rotary_embedding(
        made.input(x),
        made.constants.float32(np.cos(angles)),
        made.constants.float32(np.sin(angles)),
        interleaved,
        0 if turned == 8 else turned,
    )
    layer.set_input(3, made.input(positions))
    (result,) = made.run(layer.get_output(0))
    expected = x.copy()
    for pair in range(turned // 2):
        first, second = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + turned // 2)
        whole = x[..., first] + 1j * x[..., second]
        whole = whole * np.exp(1j * angles[positions, pair])[:, None]
        expected[..., first], expected[..., second] = whole.real, whole.imag
    close(result, expected)


def test_the_cache_takes_each_row_at_its_index_and_ignores_what_does_not_fit() -> None:
    cache, update = drawn(4, 2, 6, 3), drawn(4, 2, 2, 3, seed=1)
    made = HandMade()
    layer = made.definition.add_kv_cache_update(
        made.input(cache), made.input(update), made.input(int32([0, 4, 5, -1])), LINEAR
    )
    (result,) = made.run(layer.get_output(0))
    assert np.array_equal(result[0, :, :2], update[0])
    assert np.array_equal(result[1, :, 4:], update[1])
    assert np.array_equal(result[0, :, 2:], cache[0, :, 2:])
    assert np.array_equal(result[1, :, :4], cache[1, :, :4])
    assert np.array_equal(result[2:], cache[2:])


LINEAR = trt.KVCacheMode.LINEAR


def attended(query: Array, key: Array, value: Array, seen: Array) -> Array:
    """Query by query and head by head; seen [B, S, T]: added to the scores."""
    result = np.zeros_like(query)
    group = query.shape[1] // key.shape[1]
    for row, head, token in np.ndindex(query.shape[:3]):
        scores = key[row, head // group] @ query[row, head, token] + seen[row, token]
        weights = np.exp(scores - scores.max())
        result[row, head, token] = weights @ value[row, head // group] / weights.sum()
    return result


def attention(made: HandMade, *qkv: Array, kind: Any = None) -> Any:
    layer = made.definition.add_attention_v2(
        *[made.input(x) for x in qkv],
        trt.AttentionNormalizationOp.SOFTMAX,
        trt.CausalMaskKind.NONE if kind is None else kind,
    )
    layer.decomposable = True
    return layer


QKV = (drawn(2, 4, 3, 8), drawn(2, 2, 6, 8, seed=1), drawn(2, 2, 6, 8, seed=2))


def test_attention_with_a_mask_of_bools() -> None:
    positions = np.array([[1, 2, 3], [0, 4, 5]])
    visible = np.arange(6) <= positions[..., None]
    made = HandMade()
    layer = attention(made, *QKV)
    layer.mask = made.input(visible[:, None])
    (result,) = made.run(layer.get_output(0))
    expected = attended(*QKV, np.where(visible, 0, -np.inf))
    close(result, expected)


def test_attention_with_a_mask_to_add() -> None:
    bias = drawn(2, 3, 6, seed=3)
    made = HandMade()
    layer = attention(made, *QKV)
    layer.mask = made.input(bias[:, None])
    (result,) = made.run(layer.get_output(0))
    close(result, attended(*QKV, bias))


@pytest.mark.parametrize("lengths", [(3, 6), (5, 4), None])
def test_lower_right_aligns_the_last_query_with_the_last_key_of_its_row(
    lengths: tuple[int, int] | None,
) -> None:
    made = HandMade()
    layer = attention(made, *QKV, kind=trt.CausalMaskKind.LOWER_RIGHT)
    if lengths is not None:
        layer.key_value_lengths = made.input(int32(lengths))
    (result,) = made.run(layer.get_output(0))
    seen = np.full((2, 3, 6), -np.inf)
    for row, length in enumerate(lengths or (6, 6)):
        for token in range(3):
            seen[row, token, : length - 2 + token] = 0
    close(result, attended(*QKV, seen))


def test_upper_left_aligns_the_first_query_with_the_first_key() -> None:
    made = HandMade()
    layer = attention(made, *QKV, kind=trt.CausalMaskKind.UPPER_LEFT)
    (result,) = made.run(layer.get_output(0))
    seen = np.broadcast_to(np.triu(np.full((3, 6), -np.inf), 1), (2, 3, 6))
    close(result, attended(*QKV, seen))


def test_a_query_that_may_see_no_key_gives_no_number() -> None:
    made = HandMade()
    layer = attention(made, *QKV, kind=trt.CausalMaskKind.LOWER_RIGHT)
    layer.key_value_lengths = made.input(int32([2, 6]))
    (result,) = made.run(layer.get_output(0))
    assert np.isnan(result[0, :, 0]).all() and np.isfinite(result[1]).all()
    assert np.isfinite(result[0, :, 1:]).all()
