"""Finds the scale of each group of a matrix: of many, the one with the least squared error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from llmasos_builder.compression.integer_codes import Grid, IntegerFormat
from llmasos_builder.graph import Array
from llmasos_builder.graph.quantizer import row_blocks

_NUM_SHRINKS = {4: 40, 8: 8}
_LEAST_SHRINK = {4: 0.55, 8: 0.93}


def plain_grid(
    values: Array, stored: IntegerFormat, group: int, scale_type: Any = np.float16
) -> Grid:
    """Returns the grid on which each group's extreme values are codes: rounding to nearest."""
    return _search(values, stored, group, scale_type, np.ones(1))


def searched_grid(
    values: Array, stored: IntegerFormat, group: int, scale_type: Any = np.float16
) -> Grid:
    """Returns the grid with the least sum of squared errors in each group.

    Tried are ranges from the whole one down to half of it. A group's furthest value lies at the
    least code, of which there is one more than positive ones, or at the largest.
    """
    bits = stored.bits
    shrinks = np.linspace(1, _LEAST_SHRINK[bits], _NUM_SHRINKS[bits])
    return _search(values, stored, group, scale_type, shrinks)


def _search(
    values: Array, stored: IntegerFormat, group: int, scale_type: Any, shrinks: Any
) -> Grid:
    rows, columns = values.shape
    scales = np.ones((rows, columns // group), np.float32)
    zeros = np.zeros_like(scales)
    for part in row_blocks(values.shape):
        block = values[part].reshape(-1, columns // group, group)
        least = np.full(block.shape[:2], np.inf, np.float32)
        for scale, zero in _candidates(block, stored, scale_type, shrinks):
            codes = np.rint(block / scale[..., None]) + zero[..., None]
            codes = codes.clip(stored.least, stored.largest) - zero[..., None]
            error = np.square(codes * scale[..., None] - block).sum(axis=2)
            better = error < least
            np.copyto(least, error, where=better)
            np.copyto(scales[part], scale, where=better)
            np.copyto(zeros[part], zero, where=better)
    return Grid(format=stored, scales=scales, zeros=zeros)


def _candidates(
    block: Array, stored: IntegerFormat, scale_type: Any, shrinks: Any
) -> Iterator[tuple[Array, Array]]:
    """Yields scales that are exact in the type that they are stored in, and zero points."""
    high, low = block.max(axis=2), block.min(axis=2)
    if stored.symmetric:
        furthest = np.where(high > -low, high, low)
        for shrink in shrinks:
            for code in {stored.least, stored.largest}:
                scale = stored_scale(furthest * np.float32(shrink / code), scale_type)
                yield scale, np.zeros_like(scale)
        return
    high, low = np.maximum(high, 0), np.minimum(low, 0)
    steps = stored.largest - stored.least
    for shrink in shrinks:
        scale = stored_scale((high - low) * np.float32(shrink / steps), scale_type)
        ideal = np.rint(stored.least - low * np.float32(shrink) / scale)
        yield scale, ideal.clip(stored.least, stored.largest).astype(np.float32)


def stored_scale(scale: Array, scale_type: Any) -> Array:
    """Rounds scales to the type that they are stored in; none is 0."""
    rounded: Array = scale.astype(scale_type).astype(np.float32)
    rounded[(rounded == 0) | ~np.isfinite(rounded)] = 1
    return rounded
