"""Weights in the precision they are kept in, and what is left of them."""

from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np
from llmasos.engine.plan import Precision
from numpy.typing import NDArray

from llmasos_builder.graph.graph import Array

_LARGEST = 127
_BLOCK_ELEMENTS = 1 << 22  # bounds the memory that rounding takes
INT4_GROUPS = (128, 64, 32)
_SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8)
"""Of an int4 group's extreme, what may become the end of its range."""


def quantize_rows(values: Array) -> tuple[NDArray[np.int8], Array]:
    """int8 values [out, in] and scales [out, 1]: symmetric, scale = max|row| / 127."""
    rows, columns = values.shape
    quantized = np.empty(values.shape, np.int8)
    scales = np.empty((rows, 1), np.float32)
    step = max(1, _BLOCK_ELEMENTS // max(1, columns))
    for start in range(0, rows, step):
        block = values[start : start + step]
        scale = np.abs(block).max(axis=1, keepdims=True) / np.float32(_LARGEST)
        scale[scale == 0] = 1
        # A scale too small for float32's full precision can leave a quotient above the range.
        quantized[start : start + step] = np.rint(block / scale).clip(-_LARGEST, _LARGEST)
        scales[start : start + step] = scale
    return quantized, scales


def int4_group(columns: int) -> int | None:
    """How many neighbours along a row share an int4 scale: the most that divide it, if any."""
    return next((group for group in INT4_GROUPS if columns % group == 0), None)


def quantize_groups(values: Array) -> tuple[NDArray[np.int8], Array]:
    """int4 values from -8 to 7 [out, groups, group] and scales [out, groups, 1].

    Symmetric. The value of a group that is furthest from zero, or a little less, becomes -8
    (so that a scale may be negative). Of a few such scales each group takes that with the least
    sum of squared errors, each times its value's size, and the largest of equals: with errors
    that all count alike, large values are given up for the many small ones, and perplexity is
    worse than with no choice at all.
    """
    rows, columns = values.shape
    group = int4_group(columns)
    assert group is not None, f"no group divides {columns} columns"
    quantized = np.empty((rows, columns // group, group), np.int8)
    scales = np.empty((rows, columns // group, 1), np.float32)
    step = max(1, _BLOCK_ELEMENTS // columns)
    for start in range(0, rows, step):
        block = values[start : start + step].reshape(-1, columns // group, group)
        sizes = np.abs(block)
        best_scale, best = scales[start : start + step], quantized[start : start + step]
        least = np.full(best_scale.shape, np.inf, np.float32)
        for scale in _int4_scales(block):
            candidate = np.rint(block / scale).clip(-8, 7)
            error = np.square(candidate * scale - block) * sizes
            error = error.sum(axis=2, keepdims=True)
            better = error < least
            np.copyto(least, error, where=better)
            np.copyto(best_scale, scale, where=better)
            np.copyto(best, candidate, where=better, casting="unsafe")
    return quantized, scales


def _int4_scales(groups: Array) -> Iterator[Array]:
    furthest = np.abs(groups).argmax(axis=2)[..., None]
    extreme = np.take_along_axis(groups, furthest, axis=2)
    for shrink in _SHRINKS:
        scale = extreme * np.float32(shrink / -8)
        scale[scale == 0] = 1
        yield scale


def to_bf16_bits(values: Array) -> NDArray[np.uint16]:
    """bfloat16, rounded to the nearest (ties to even), as its bits."""
    return values.astype(ml_dtypes.bfloat16).view(np.uint16)


def rounded(values: Array, precision: Precision) -> Array:
    """The float32 values that a weight kept in this precision stands for."""
    if precision == "int8":
        quantized, scales = quantize_rows(values)
        return quantized * scales
    if precision == "int4":
        groups, scales = quantize_groups(values)
        return (groups * scales).reshape(values.shape)
    if precision == "bf16":
        return values.astype(ml_dtypes.bfloat16).astype(np.float32)
    return values
