"""Rounds weights to the precision in which they are stored."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from llmasos.engine.plan import Precision
from llmasos.engine.weight_format import FORMATS
from numpy.typing import NDArray

from llmasos_builder.graph.graph import Array
from llmasos_builder.graph.quantizer import CPU_METHODS, quantize_rows


def to_bf16_bits(values: Array) -> NDArray[np.uint16]:
    """Returns bfloat16 bits, rounded to the nearest (ties to even)."""
    return values.astype(ml_dtypes.bfloat16).view(np.uint16)


def rounded(values: Array, precision: Precision) -> Array:
    """Returns the float32 values of a weight stored in this precision on a CPU."""
    if precision in CPU_METHODS:
        return quantize_rows(values, FORMATS[precision], method=CPU_METHODS[precision]).values()
    if precision == "bf16":
        return values.astype(ml_dtypes.bfloat16).astype(np.float32)
    return values
