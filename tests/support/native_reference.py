"""What a native engine computes, in numpy: the reference with everything quantized that it has.

Activations are signed bytes by groups of 64; queries signed bytes with one scale; keys unsigned
bytes between their least and greatest number; values signed bytes; probabilities, times the
values' scales, unsigned bytes with one scale for each block of 32 tokens.
"""

from __future__ import annotations

import numpy as np
from llmasos.engine.plan import Precision
from llmasos_builder.graph import Array, AttentionScores
from llmasos_builder.graph.quantizer import CPU_METHODS, quantize_rows
from llmasos_builder.graph.reference import ReferenceGraph
from llmasos_builder.native.packing import INT4, INT8
from numpy.typing import NDArray

Wide = NDArray[np.float64]
GROUP, BLOCK = 64, 32
_EXACT = ("wpe", "embed_positions")
"""Learned positions stay in f32."""


def padded(x: Wide) -> Wide:
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % GROUP)])


def signed_bytes(x: Wide) -> tuple[Wide, Wide]:
    """Bytes along the last axis and their scale."""
    most = np.abs(x).max(axis=-1, keepdims=True)
    scale = np.where(most == 0, 1, most / 127)
    return np.rint(x / scale), scale


def in_groups(x: Wide) -> Wide:
    """Activations as a product sees them."""
    wide = padded(x)
    values, scales = signed_bytes(wide.reshape(*wide.shape[:-1], -1, GROUP))
    return (values * scales).reshape(wide.shape)[..., : x.shape[-1]]


class QuantizedGraph(ReferenceGraph):
    """The oracle of native engines; one row alone, from its beginning.

    head_size: of the network, whose heads have int4 groups of their own in the output's matrix.
    """

    def __init__(self, input_ids: NDArray[np.int64], *, head_size: int) -> None:
        super().__init__(input_ids)
        self._head_size = head_size
        self._attended: Wide | None = None

    def weight(self, name: str, values: Array, precision: Precision) -> Wide:
        if values.ndim == 1 or any(word in name for word in _EXACT):
            return values.astype(np.float64)
        if precision == "int8" or "embed" in name or "lm_head" in name:
            return quantize_rows(values, INT8).values().astype(np.float64)
        size = self._head_size if "o_proj" in name else values.shape[1]
        parts = padded(values.reshape(len(values), -1, size).astype(np.float64))
        wide = parts.reshape(len(values), -1).astype(np.float32)
        quantized = quantize_rows(wide, INT4, method=CPU_METHODS["int4"])
        exact: Wide = quantized.values().astype(np.float64).reshape(parts.shape)
        return exact[..., :size].reshape(values.shape)

    def linear(self, x: Wide, weight: Wide, bias: Wide | None = None) -> Wide:
        return super().linear(x if x is self._attended else in_groups(x), weight, bias)

    def merge_heads(self, x: Wide) -> Wide:
        """Heads are quantized one by one, each in groups of its own."""
        self._attended = super().merge_heads(in_groups(x))
        return self._attended

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
        group = query.shape[1] // key.shape[1]
        queries, query_scales = signed_bytes(query * scores.scale)
        least, most = (f(padded(key), axis=-1, keepdims=True) for f in (np.min, np.max))
        scale = np.where(most > least, (most - least) / 255, 1)
        keys = np.rint((key - least) / scale) * scale + least
        values, value_scales = signed_bytes(value)
        keys, values, value_scales = (
            np.repeat(x, group, axis=1) for x in (keys, values, value_scales)
        )
        logits = self._masked(queries * query_scales @ keys.swapaxes(2, 3), scores)
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        total = shares.sum(axis=-1, keepdims=True)
        weighed = shares * value_scales.swapaxes(2, 3)
        result = np.zeros_like(query)
        for start in range(0, weighed.shape[-1], BLOCK):
            part = weighed[..., start : start + BLOCK]
            top = np.maximum(part.max(axis=-1, keepdims=True), 1e-30)
            bytes_ = np.rint(part / top * 255)
            result += bytes_ @ values[:, :, start : start + BLOCK] * (top / 255)
        attended: Wide = result / total
        return attended
