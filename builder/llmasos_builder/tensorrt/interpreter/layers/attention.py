"""Attention over padded rows, masked in one of the two ways that compile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmasos_builder.tensorrt.interpreter.layer import Layer
from llmasos_builder.tensorrt.interpreter.layers.formula import Formula, Inputs, optional
from llmasos_builder.tensorrt.interpreter.layers.normalization import softmax
from llmasos_builder.tensorrt.interpreter.numbers import Array


def _attention(layer: Layer, inputs: Inputs) -> Array:
    """softmax(query @ key.T + mask) @ value, in float32 throughout.

    query [B, H, S, D]; key, value [B, H / n, T, D], each shared by n neighbouring heads. A query
    that sees no key gives NaN, so that any use of it shows.
    """
    query, key, value = inputs[:3]
    group = query.shape[1] // key.shape[1]
    keys, values = (np.repeat(x, group, axis=1) for x in (key, value))
    scores = query @ keys.swapaxes(-1, -2)
    mask, lengths = optional(inputs, 3), optional(inputs, 4)
    if mask is not None and mask.dtype != np.bool_:
        scores = scores + mask
    elif mask is not None:
        scores = np.where(mask, scores, -np.inf)
    visible = _visible(layer, lengths, queries=query.shape[2], keys=key.shape[2])
    result: Array = softmax(np.where(visible, scores, -np.inf), -1) @ values
    return result


def _visible(layer: Layer, lengths: Array | None, *, queries: int, keys: int) -> Array:
    """The keys that a query sees by its row's length and the kind of causality: [B, 1, S, T]."""
    key, query = np.arange(keys), np.arange(queries)[:, None]
    if lengths is not None and not (lengths.min() >= 0 and lengths.max() <= keys):
        raise layer.error(f"lengths {lengths.min()} to {lengths.max()} do not fit {keys} keys")
    length = np.full((1, 1, 1, 1), keys) if lengths is None else lengths[:, None, None, None]
    first_hidden: Mapping[str, Any] = {
        "NONE": length,
        "UPPER_LEFT": np.minimum(query + 1, length),
        "LOWER_RIGHT": query + 1 + length - queries,
    }
    visible: Array = key < first_hidden[layer.settings.attention.causal_kind.name]
    return visible


def _attention_output(layer: Layer, inputs: Inputs) -> Array:  # noqa: ARG001
    """Returns the result at the other end of the same attention."""
    result: Array = inputs[0]
    return result


FORMULAS: Mapping[str, Formula] = {
    "ATTENTION_INPUT": _attention,
    "ATTENTION_OUTPUT": _attention_output,
}
