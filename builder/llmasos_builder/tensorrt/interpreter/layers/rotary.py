"""Rotary positions: pairs of elements rotated by tables of cosines and sines."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from llmasos_builder.tensorrt.interpreter.layer import Layer
from llmasos_builder.tensorrt.interpreter.layers.formula import Formula, Inputs, optional
from llmasos_builder.tensorrt.interpreter.numbers import Array


def _rotary(layer: Layer, inputs: Inputs) -> Array:
    """Rotates x [B, H, S, D] (RoPE, arXiv:2104.09864).

    cos, sin: [positions, R / 2] with the positions [B, S] as fourth input, else [B, S, R / 2]. R is
    rotary_embedding_dim, or D if that is 0; elements beyond R stay unchanged.
    """
    x: Array = inputs[0]
    cos, sin = (_of_each_token(layer, table, optional(inputs, 3)) for table in inputs[1:3])
    size = layer.settings.rotary_embedding_dim or x.shape[-1]
    if size != 2 * cos.shape[-1]:
        raise layer.error(f"tables of {cos.shape[-1]} angles cannot turn {size} elements")
    turned, rest = x[..., :size], x[..., size:]
    if layer.settings.interleaved:
        first, second = turned[..., 0::2], turned[..., 1::2]
    else:
        first, second = np.split(turned, 2, axis=-1)
    pair = (first * cos - second * sin, second * cos + first * sin)
    if layer.settings.interleaved:
        return np.concatenate([np.stack(pair, axis=-1).reshape(turned.shape), rest], axis=-1)
    return np.concatenate([*pair, rest], axis=-1)


def _of_each_token(layer: Layer, table: Array, positions: Array | None) -> Array:
    """[B, 1, S, R / 2]"""
    if positions is not None:
        if not (positions.min() >= 0 and positions.max() < len(table)):
            raise layer.error(
                f"positions {positions.min()} to {positions.max()} do not fit {len(table)}"
            )
        table = table[positions]
    return table[:, None]


FORMULAS: Mapping[str, Formula] = {"ROTARY_EMBEDDING": _rotary}
