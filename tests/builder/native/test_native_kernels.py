"""Each kernel alone against numpy, over all sizes."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import needs_native  # noqa: F401
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmasos.engine.cpu_kind import this_cpu_kind
from llmasos.engine.native_engine import AttentionScratch, KVBlock, LayerField
from llmasos_builder.graph.quantizer import CPU_METHODS, quantize_rows
from llmasos_builder.native.attention import make_attend
from llmasos_builder.native.norms import layer_normalize, rms_normalize
from llmasos_builder.native.packing import INT4, INT8, pack
from llmasos_builder.native.rows import add_bias, embed
from llmasos_builder.native.tile import ZERO_POINTS, make_linear
from llmasos_builder.native.vectors import A, bits_as_f, native, table
from native_kernels import (
    Matrix,
    aligned,
    arguments,
    bits_of,
    callable_from_python,
    elementwise,
    parts_of,
    quantized,
    with_arguments,
)

KIND = this_cpu_kind() or ""
LINEAR = lru_cache(make_linear)


def product(
    weights: Matrix, acts: Matrix, bits: int, *, before: Matrix | None = None, low: int = 0
) -> Matrix:
    """The kernel's product, from block `low` of 32 columns on; before: what it is added to."""
    rows, width = acts.shape
    packed, scales = (aligned(part) for part in pack(weights, bits))
    act = quantized(acts, ZERO_POINTS[bits])
    memory = np.zeros(rows * len(weights) + 1, np.float32)
    out = memory[1:].reshape(rows, -1)  # not aligned to 64 bytes
    if before is not None:
        out[...] = before
    blocks = len(weights) // 32
    callable_from_python(LINEAR(bits, KIND), 10)(
        act.ctypes.data, width, rows, packed.ctypes.data, scales.ctypes.data, low, blocks,
        out.ctypes.data + 128 * low, 4 * len(weights), int(before is not None),
    )  # fmt: skip
    return out


def exact_weights(weights: Matrix, bits: int) -> Any:
    if bits == 8:
        return quantize_rows(weights, INT8).values().astype(np.float64)
    quantized = quantize_rows(weights, INT4, method=CPU_METHODS["int4"])
    return quantized.values().astype(np.float64)


def exact_acts(acts: Matrix) -> Any:
    rows, width = acts.shape
    q, scales, _ = parts_of(quantized(acts, 128), rows, width)
    return (q.reshape(rows, -1, 64) * scales[..., None].astype(np.float64)).reshape(rows, width)


sizes = {
    "rows": st.integers(1, 20),
    "groups": st.integers(1, 6),
    "blocks": st.integers(1, 4),
    "bits": st.sampled_from([8, 4]),
    "seed": st.integers(0, 1000),
}


@settings(max_examples=40)
@given(**sizes)
def test_a_product_is_that_of_the_quantized_numbers(
    rows: int, groups: int, blocks: int, bits: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(32 * blocks, 64 * groups)).astype(np.float32)
    acts = rng.normal(size=(rows, 64 * groups)).astype(np.float32)
    acts[0, :64] = 0
    expected = exact_acts(acts) @ exact_weights(weights, bits).T
    assert np.allclose(product(weights, acts, bits), expected, atol=1e-4, rtol=1e-5)
    before = rng.normal(size=expected.shape).astype(np.float32)
    found = product(weights, acts, bits, before=before)
    assert np.allclose(found, before + expected, atol=1e-4, rtol=1e-5)


@settings(max_examples=20)
@given(**sizes)
def test_a_row_of_a_product_is_the_same_bits_alone(
    rows: int, groups: int, blocks: int, bits: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(32 * blocks, 64 * groups)).astype(np.float32)
    acts = rng.normal(size=(rows, 64 * groups)).astype(np.float32)
    together = product(weights, acts, bits)
    alone = [product(weights, acts[row : row + 1], bits) for row in range(rows)]
    assert (together.view(np.int32) == np.concatenate(alone).view(np.int32)).all()


def test_a_product_of_some_columns_leaves_the_others() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(96, 64)).astype(np.float32)
    acts = rng.normal(size=(3, 64)).astype(np.float32)
    whole = product(weights, acts, 8)
    part = product(weights, acts, 8, low=1)
    assert not part[:, :32].any()
    assert (part[:, 32:] == whole[:, 32:]).all()


def test_the_largest_bytes_do_not_overflow() -> None:
    weights = np.full((32, 64 * 5), 127, np.float32)
    acts = np.full((2, 64 * 5), -127, np.float32)
    assert (product(weights, acts, 8) == -127 * 127 * 64 * 5).all()


@settings(max_examples=30)
@given(
    width=st.integers(1, 300), rows=st.integers(1, 5), size=st.sampled_from([1e-6, 1.0, 1e4]),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_a_norm_is_that_of_the_true_width(width: int, rows: int, size: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wide = -(-width // 64) * 64
    x = np.zeros((rows, wide), np.float32)
    x[:, :width] = rng.normal(0, size, (rows, width))
    weight = np.zeros(wide, np.float32)
    weight[:width] = rng.normal(1, 0.1, width)
    memory = np.zeros(rows * wide * 2, np.uint8)
    run = callable_from_python(_normalize, 9)
    for row in range(rows):
        run(
            x.ctypes.data + 4 * wide * row, weight.ctypes.data, wide, width, bits_of(1e-5),
            memory.ctypes.data, row, rows, 128,
        )  # fmt: skip
    q, scales, sums = parts_of(memory, rows, wide)
    mean = np.square(x[:, :width].astype(np.float64)).mean(axis=1, keepdims=True)
    expected = x / np.sqrt(mean + 1e-5) * weight
    found = (q.reshape(rows, -1, 64) * scales[..., None]).reshape(rows, wide)
    most = np.abs(expected).max() + 1e-9
    assert np.abs(found - expected).max() < 0.51 / 127 * most
    assert (sums == -128 * q.reshape(rows, -1, 64).astype(np.int32).sum(axis=2)).all()


@native
def _normalize(
    x: int, weight: int, width: int, true_width: int, eps: int, act: int, row: int, rows: int,
    zero: int,
) -> None:  # fmt: skip
    rms_normalize(x, weight, A(0), width, true_width, bits_as_f(eps), act, row, rows, zero)


@native
def _layer_normalize(
    x: int, weight: int, bias: int, width: int, true_width: int, eps: int, act: int, row: int,
    rows: int, zero: int,
) -> None:  # fmt: skip
    layer_normalize(x, weight, bias, width, true_width, bits_as_f(eps), act, row, rows, zero)


@settings(max_examples=60)
@given(width=st.integers(1, 200), rows=st.integers(1, 3), seed=st.integers(0, 99))
def test_a_layer_norm_is_that_of_the_true_width(width: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wide = -(-width // 64) * 64
    x, weight, bias = (np.zeros((n, wide), np.float32) for n in (rows, 1, 1))
    x[:, :width] = rng.normal(3, 2, (rows, width))
    weight[:, :width], bias[:, :width] = rng.normal(1, 0.1, width), rng.normal(0, 1, width)
    memory = np.zeros(rows * wide * 2, np.uint8)
    run = callable_from_python(_layer_normalize, 10)
    for row in range(rows):
        run(
            x.ctypes.data + 4 * wide * row, weight.ctypes.data, bias.ctypes.data, wide, width,
            bits_of(1e-5), memory.ctypes.data, row, rows, 128,
        )  # fmt: skip
    q, scales, _ = parts_of(memory, rows, wide)
    true = x[:, :width].astype(np.float64)
    centred = true - true.mean(axis=1, keepdims=True)
    normed = centred / np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + 1e-5)
    expected = np.zeros((rows, wide))
    expected[:, :width] = normed * weight[:, :width] + bias[:, :width]
    found = (q.reshape(rows, -1, 64) * scales[..., None]).reshape(rows, wide)
    most = np.abs(expected).max() + 1e-9
    assert np.abs(found - expected).max() < 0.51 / 127 * most


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_tanh", "relu"])
def test_an_activation_is_as_exact_as_its_bytes_need(name: str) -> None:
    x = np.concatenate([np.linspace(-20, 20, 4096), [-3e4, 3e4, 0, -0.0] * 4]).astype(np.float32)
    wide = x.astype(np.float64)
    z = np.clip(1.5957691216057308 * (wide + 0.044715 * wide**3), -200, 200)
    expected = {
        "silu": wide / (1 + np.exp(-np.clip(wide, -200, 200))),
        "gelu_tanh": wide / (1 + np.exp(-z)),
        "gelu": wide * (1 + np.vectorize(math.erf)(wide / math.sqrt(2))) / 2,
        "relu": np.maximum(wide, 0),
    }[name]
    assert np.allclose(elementwise(name)(x), expected, atol=2e-6, rtol=4e-6)


def test_an_embedding_is_its_row_of_the_packed_matrix() -> None:
    table_ = np.random.default_rng(0).normal(size=(96, 128)).astype(np.float32)
    packed, scales = (aligned(part) for part in pack(table_, 8))
    tokens = np.array([0, 31, 32, 95, 40], np.int32)
    x = np.zeros((5, 128), np.float32)
    c = arguments(
        tokens=tokens.ctypes.data, hidden=128, embedding=packed.ctypes.data,
        embedding_scale=scales.ctypes.data, x=x.ctypes.data,
    )  # fmt: skip
    for row in range(5):
        with_arguments(embed, 1)(c.ctypes.data, row)
    assert np.array_equal(x, exact_weights(table_, 8).astype(np.float32)[tokens])


def test_a_bias_is_added_to_every_row_and_none_to_nothing() -> None:
    out = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    bias, before = np.arange(32, dtype=np.float32), out.copy()
    run = callable_from_python(add_bias, 5)
    run(0, out.ctypes.data, 256, 3, 32)
    assert (out == before).all()
    run(bias.ctypes.data, out.ctypes.data + 128, 256, 3, 32)
    assert (out[:, :32] == before[:, :32]).all()
    assert (out[:, 32:] == before[:, 32:] + bias).all()


@pytest.mark.parametrize(("head", "query_heads"), [(64, 3), (128, 9)])
def test_attention_is_as_close_as_bytes_allow(head: int, query_heads: int) -> None:
    rng = np.random.default_rng(0)
    num_tokens, kv_heads, num_blocks = 75, 2, 7
    heads = query_heads * kv_heads
    qkv = rng.normal(size=(num_tokens, heads + 2 * kv_heads, head)).astype(np.float32)
    kv = aligned(np.full(num_blocks * kv_heads * KVBlock(head).num_bytes, 255, np.uint8))
    blocks = np.array([5, 2, 6], np.int32)
    scratch = aligned(np.zeros(AttentionScratch(head, query_heads).num_bytes(96), np.uint8))
    attn = np.zeros(num_tokens * heads * head * 2, np.uint8)
    rope = np.concatenate([np.ones((96, head // 2)), np.zeros((96, head // 2))], axis=1)
    rope = rope.astype(np.float32)
    layer = np.zeros(len(LayerField), np.int64)
    layer[LayerField.ROPE] = rope.ctypes.data
    layer[LayerField.SCORE_SCALE] = bits_of(head**-0.5)
    positions = np.arange(num_tokens, dtype=np.int32)
    starts = np.array([0, num_tokens], np.int32)
    c = arguments(
        rows=num_tokens, seqs=1, heads=heads, kv_heads=kv_heads, true_head=head,
        eps=bits_of(1e-5), positions=positions.ctypes.data, seq_start=starts.ctypes.data,
        tables=blocks.ctypes.data, max_blocks=3, kv=kv.ctypes.data, kv_blocks=num_blocks,
        qkv=qkv.ctypes.data, attn=attn.ctypes.data,
    )  # fmt: skip
    run = _attend(head, query_heads)
    for item in range(kv_heads):
        run(c.ctypes.data, layer.ctypes.data, 0, item, item + 1, scratch.ctypes.data)
    q, scales, _ = parts_of(attn, num_tokens, heads * head)
    found = (q.reshape(num_tokens, -1, 64) * scales[..., None]).reshape(num_tokens, heads, head)
    query, key, value = np.split(qkv.astype(np.float64), [heads, heads + kv_heads], axis=1)
    key, value = (np.repeat(part, query_heads, axis=1) for part in (key, value))
    scores = np.einsum("qhd,khd->hqk", query, key) * head**-0.5
    scores[:, np.triu_indices(num_tokens, 1)[0], np.triu_indices(num_tokens, 1)[1]] = -np.inf
    shares = np.exp(scores - scores.max(axis=2, keepdims=True))
    shares /= shares.sum(axis=2, keepdims=True)
    expected = np.einsum("hqk,khd->qhd", shares, value)
    assert np.abs(found - expected).max() < 0.05
    assert np.abs(found - expected).mean() < 0.01
    others = np.setdiff1d(np.arange(num_blocks), blocks)
    untouched = kv.reshape(num_blocks, -1)[others]
    assert (untouched == 255).all()


def _attend(head: int, query_heads: int) -> Any:
    attend = make_attend(AttentionScratch(head, query_heads), 128, KIND)

    @native
    def run(c: int, layer: int, index: int, item: int, ahead: int, memory: int) -> None:
        attend(table(c), table(layer), index, item, ahead, memory)

    return callable_from_python(run, 6)
