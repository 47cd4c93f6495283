"""Rearranges the rows of query, key and value into the order that a network uses.

Checkpoints differ in two ways. Both are undone when a weight is read, so that the network needs
no operation for them:

- query, key and value in one weight may come head by head (query, key and value of the first
head, then those of the second), where the network splits them as three parts;
- heads may be rotated in part: only their first elements, of which the first half pairs with the
second. The network rotates whole heads, half against half; a frequency of 0 leaves a pair
unchanged. So the elements of a head become: first half of the rotated ones, half of the others,
second half of the rotated ones, the rest. Query and key change alike, so their products stay the
same. If the scores of the rotated part are scaled, that part of each query is scaled instead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from llmasos_builder.architectures.decoder.spec import DecoderSpec
from llmasos_builder.graph import Array

Rows = NDArray[np.int64]
Order = Callable[[Array], Array]


def whole_head_frequencies(spec: DecoderSpec, layer: int) -> tuple[float, ...] | None:
    """Returns one frequency for each pair of a head in the network's order; 0 does not rotate."""
    frequencies = spec.rotary_frequencies
    if frequencies is None:
        return None
    if spec.layer_rotary_frequencies is not None:
        frequencies = spec.layer_rotary_frequencies[layer]
    return frequencies + (0.0,) * (spec.head_size // 2 - len(frequencies))


def row_orders(spec: DecoderSpec) -> tuple[Order, ...]:
    """Returns the rearrangements of rows of a weight or bias, for each attention input as
    stored.
    """
    stored = len(spec.names.attention_inputs)
    if not spec.names.heads_interleaved and spec.rotates_whole_heads:
        return (unchanged,) * stored
    return tuple(partial(_ordered, spec, part) for part in ((0, 1, 2) if stored > 1 else (None,)))


def unchanged(values: Array) -> Array:
    """Keeps the stored order."""
    return values


def _ordered(spec: DecoderSpec, part: int | None, values: Array) -> Array:
    """part: 0, 1, 2 for query, key, value; None for all in one."""
    if values.strides[0] == 0:  # no memory between rows: they are all the same
        return values
    query, key, value = _rows(spec)
    order = _rotation_order(spec)
    used = [query[:, order].ravel(), key[:, order].ravel(), value.ravel()]
    first = sum(rows.size for rows in used[:part]) if part else 0
    ordered: Array = values[np.concatenate(used) if part is None else used[part] - first]
    if not part and spec.rotary_scale != 1 and not spec.rotates_whole_heads:
        _scale_rotated(spec, ordered[: query.size])
    return ordered


def _scale_rotated(spec: DecoderSpec, query: Array) -> None:
    """Scales the rotated elements of each query head in place, in the network's order."""
    heads = query.reshape(spec.num_heads, spec.head_size, -1)
    half, whole = len(spec.rotary_frequencies or ()), spec.head_size // 2
    heads[:, :half] *= np.float32(spec.rotary_scale)
    heads[:, whole : whole + half] *= np.float32(spec.rotary_scale)


def _rows(spec: DecoderSpec) -> tuple[Rows, Rows, Rows]:
    """Positions of each head's rows, [heads, head_size], in query, key and value as stored."""
    group = spec.num_heads // spec.num_kv_heads
    heads = np.arange((spec.num_heads + 2 * spec.num_kv_heads) * spec.head_size)
    heads = heads.reshape(-1, spec.head_size)
    if not spec.names.heads_interleaved:
        query, key, value = np.split(heads, [spec.num_heads, spec.num_heads + spec.num_kv_heads])
        return query, key, value
    groups = heads.reshape(spec.num_kv_heads, group + 2, spec.head_size)
    return groups[:, :group].reshape(-1, spec.head_size), groups[:, group], groups[:, group + 1]


def _rotation_order(spec: DecoderSpec) -> Rows:
    elements = np.arange(spec.head_size)
    if spec.rotary_frequencies is None:
        return elements
    half = len(spec.rotary_frequencies)
    first, second, others = np.split(elements, [half, 2 * half])
    some, rest = np.split(others, 2)
    return np.concatenate([first, some, second, rest])
