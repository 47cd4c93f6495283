"""Weights in the precision they are kept in, and what is left of them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from llmasos.plan import Precision
from numpy.typing import NDArray

from llmasos_builder.graph.graph import Array

_LARGEST = 127
_BLOCK_ELEMENTS = 1 << 22  # bounds the memory that rounding takes


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


def to_bf16_bits(values: Array) -> NDArray[np.uint16]:
    """bfloat16, rounded to the nearest (ties to even), as its bits."""
    return values.astype(ml_dtypes.bfloat16).view(np.uint16)


def rounded(values: Array, precision: Precision) -> Array:
    """The float32 values that a weight kept in this precision stands for."""
    if precision == "int8":
        quantized, scales = quantize_rows(values)
        return quantized * scales
    if precision == "bf16":
        return values.astype(ml_dtypes.bfloat16).astype(np.float32)
    return values
