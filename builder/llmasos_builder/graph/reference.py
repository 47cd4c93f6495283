"""A graph that numpy computes while it is defined: the reference for the compilers.

Rows are padded, and the cache of a step goes into the next one, as in OpenVINO's stateful models.
It is written for clarity, not speed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from llmasos.engine.plan import Precision
from numpy.typing import NDArray

from llmasos_builder.graph.graph import (
    Activation,
    Array,
    AttentionScores,
    Pooling,
    each_linear,
)
from llmasos_builder.graph.refused_operations import WithoutCrossAttention
from llmasos_builder.graph.rounding import rounded

Wide = NDArray[np.float64]
Cache = list[tuple[Wide, Wide]]
_erf = np.vectorize(math.erf, otypes=[np.float64])


class ReferenceGraph(WithoutCrossAttention):
    """Implements `Graph` over one step: wide tensors are [B, S, width], heads [B, H, S, D].

    input_ids [B, S]; attention_mask [B, T], 0 where a column is padding, with T the columns of
    earlier steps and of this one; cache: the keys and values [B, H, T - S, D] of each layer from
    earlier steps, empty for the first. logits [B, S, vocabulary] and cache are the step's results.
    token_types [B, S]: 0 unless given. An encoder sees its rows in one step, and after `pool` wide
    tensors are [B, width].
    in_int8: the weights that are kept in int8 where int4 is asked for. Computes in float64, with
    weights rounded to their precision.
    """

    def __init__(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64] | None = None,
        cache: Cache | None = None,
        *,
        in_int8: Collection[str] = (),
        token_types: NDArray[np.int64] | None = None,
    ) -> None:
        self._in_int8 = in_int8
        mask = np.ones_like(input_ids) if attention_mask is None else attention_mask
        self._input_ids = input_ids
        self._token_types = np.zeros_like(input_ids) if token_types is None else token_types
        self._mask = mask
        new = input_ids.shape[1]
        self._key_positions = np.cumsum(mask, axis=1) - 1
        columns = np.arange(mask.shape[1])
        causal = columns <= columns[-new:, None]
        self._positions = np.maximum(self._key_positions, 0)[:, -new:]
        self._visible = causal[None, None] & (mask[:, None, None] == 1)
        self._earlier = cache or []
        self.cache: Cache = []
        self.logits: Wide = np.empty((*input_ids.shape, 0))

    def weight(self, name: str, values: Array, precision: Precision) -> Wide:
        kept: Precision = "int8" if precision == "int4" and name in self._in_int8 else precision
        exact: Wide = rounded(values, kept).astype(np.float64)
        return exact

    def embed_tokens(self, table: Wide) -> Wide:
        rows: Wide = table[self._input_ids]
        return rows

    def embed_positions(self, table: Wide) -> Wide:
        rows: Wide = table[self._positions]
        return rows

    def embed_token_types(self, table: Wide) -> Wide:
        rows: Wide = table[self._token_types]
        return rows

    def linear(self, x: Wide, weight: Wide, bias: Wide | None = None) -> Wide:
        product: Wide = x @ weight.T
        return product if bias is None else product + bias

    def linears(
        self, x: Wide, weights: Sequence[Wide], biases: Sequence[Wide] | None = None
    ) -> tuple[Wide, ...]:
        return each_linear(self, x, weights, biases)

    def rms_norm(self, x: Wide, weight: Wide, *, eps: float) -> Wide:
        deviation: Wide = np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps)
        return x / deviation * weight

    def layer_norm(self, x: Wide, weight: Wide, bias: Wide | None, *, eps: float) -> Wide:
        centred = x - np.mean(x, axis=-1, keepdims=True)
        scaled = self.rms_norm(centred, weight, eps=eps)
        return scaled if bias is None else scaled + bias

    def activation(self, x: Wide, kind: Activation) -> Wide:
        gate: NDArray[Any]
        match kind:
            case "silu":
                gate = 0.5 * (1 + np.tanh(x / 2))
            case "gelu":
                gate = 0.5 * (1 + _erf(x / math.sqrt(2)))
            case "gelu_tanh":
                gate = 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
            case "relu":
                gate = x > 0
            case "tanh":
                gate = np.divide(np.tanh(x), x, out=np.ones_like(x), where=x != 0)
        activated: Wide = x * gate
        return activated

    def soft_cap(self, x: Wide, cap: float) -> Wide:
        bounded: Wide = cap * np.tanh(x / cap)
        return bounded

    def scale(self, x: Wide, factor: float) -> Wide:
        return x * factor

    def add(self, a: Wide, b: Wide) -> Wide:
        return a + b

    def multiply(self, a: Wide, b: Wide) -> Wide:
        return a * b

    def split(self, x: Wide, widths: Sequence[int]) -> tuple[Wide, ...]:
        return tuple(np.split(x, np.cumsum(widths)[:-1], axis=-1))

    def concat(self, parts: Sequence[Wide]) -> Wide:
        return np.concatenate(parts, axis=-1)

    def split_heads(self, x: Wide, num_heads: int) -> Wide:
        batch, new, _ = x.shape
        return x.reshape(batch, new, num_heads, -1).swapaxes(1, 2)

    def merge_heads(self, x: Wide) -> Wide:
        batch, _, new, _ = x.shape
        return x.swapaxes(1, 2).reshape(batch, new, -1)

    def rotary(self, x: Wide, frequencies: tuple[float, ...]) -> Wide:
        angles = self._positions[:, None, :, None] * np.array(frequencies)
        first, second = np.split(x, 2, axis=-1)
        cos, sin = np.cos(angles), np.sin(angles)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def cached_attention(
        self,
        query: Wide,
        key: Wide,
        value: Wide,
        *,
        scores: AttentionScores,
        distance_bias: Wide | None = None,
    ) -> Wide:
        self.refuse_distances(distance_bias)
        if self._earlier:
            past_key, past_value = self._earlier[len(self.cache)]
            key = np.concatenate([past_key, key], axis=2)
            value = np.concatenate([past_value, value], axis=2)
        self.cache.append((key, value))
        group = query.shape[1] // key.shape[1]
        keys, values = (np.repeat(x, group, axis=1) for x in (key, value))
        logits = self._masked(scores.scale * query @ keys.swapaxes(2, 3), scores)
        return _softmax(logits) @ values

    def attention(
        self,
        query: Wide,
        key: Wide,
        value: Wide,
        *,
        scores: AttentionScores,
        distance_bias: Wide | None = None,
    ) -> Wide:
        assert scores.cap is None and scores.slopes is None and not self._earlier
        group = query.shape[1] // key.shape[1]
        keys, values = (np.repeat(x, group, axis=1) for x in (key, value))
        logits = scores.scale * query @ keys.swapaxes(2, 3)
        distance = self._key_positions[:, None] - self._positions[:, :, None]  # [B, S, S]
        if distance_bias is not None:
            reach = len(distance_bias) // 2
            rows = distance_bias[np.clip(distance, -reach, reach) + reach]
            logits = logits + np.moveaxis(rows, 3, 1)
        visible = self._mask[:, None, None] == 1
        if scores.window is not None:
            visible = visible & (np.abs(distance) <= scores.window)[:, None]
        return _softmax(np.where(visible, logits, -1e30)) @ values

    def pool(self, x: Wide, kind: Pooling) -> Wide:
        kept = self._mask[..., None] == 1
        lengths = self._mask.sum(axis=1, keepdims=True)
        rows = np.arange(len(x))
        pooled: Wide
        match kind:
            case "mean":
                pooled = (x * kept).sum(axis=1) / lengths
            case "mean_sqrt_len":
                pooled = (x * kept).sum(axis=1) / np.sqrt(lengths)
            case "max":
                pooled = np.where(kept, x, -np.inf).max(axis=1)
            case "first":
                pooled = x[rows, self._mask.argmax(axis=1)]
            case "last":
                pooled = x[rows, x.shape[1] - 1 - self._mask[:, ::-1].argmax(axis=1)]
        return pooled

    def normalize(self, x: Wide) -> Wide:
        normed: Wide = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
        return normed

    def _masked(self, logits: Wide, scores: AttentionScores) -> Wide:
        distance = self._positions[:, None, :, None] - self._key_positions[:, None, None]
        visible = self._visible
        if scores.cap is not None:
            logits = self.soft_cap(logits, scores.cap)
        if scores.slopes is not None:
            logits = logits - np.array(scores.slopes)[:, None, None] * distance
        if scores.window is not None:
            visible = visible & (distance < scores.window)
        masked: Wide = np.where(visible, logits, -1e30)
        return masked

    def select_sampled(self, x: Wide) -> Wide:
        return x

    def output(self, logits: Wide) -> None:
        self.logits = logits


def _softmax(logits: Wide) -> Wide:
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    normed: Wide = shares / shares.sum(axis=-1, keepdims=True)
    return normed
