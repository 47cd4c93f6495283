"""Attention with a soft cap on scores, written out, since TensorRT's attention has none."""

from __future__ import annotations

from typing import Any

from llmasos_builder.tensorrt.layers import Layers

_MASKED = -1e30


def soft_capped_attention(
    layers: Layers, query: Any, keys: Any, values: Any, *, mask: Any, cap: float
) -> Any:
    """softmax(cap * tanh(query @ keys.T / cap)) @ values; scores are f32.

    query [B, H, S, D], scaled; keys, values [B, H / n, T, D], each shared by n neighbouring heads,
    whose rows are stacked for it; mask [B, 1, S, T], bool.
    """
    num_heads, num_kv_heads = int(query.shape[1]), int(keys.shape[1])
    size, length = int(keys.shape[3]), int(keys.shape[2])
    rows = layers.reshape(query, (0, num_kv_heads, -1, size))
    scores = layers.cast(layers.matmul_transposed(rows, keys), layers.library.float32)
    scores = layers.reshape(layers.soft_cap(scores, cap), (0, num_heads, -1, length))
    masked = layers.constants.scalar(_MASKED, rank=4, exact=True)
    shares = layers.softmax_last(layers.select(mask, scores, masked))
    shares = layers.cast(shares, layers.constants.dtype)
    shares = layers.reshape(shares, (0, num_kv_heads, -1, length))
    return layers.reshape(layers.matmul(shares, values), (0, num_heads, -1, size))
