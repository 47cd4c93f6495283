"""What is left of a weight in the precision that it is kept in."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from llmasos.engine.plan import Precision
from llmasos.engine.weight_format import FORMATS
from numpy.typing import NDArray

from llmasos_builder.compression.quantizer import CPU_METHODS, quantize_rows
from llmasos_builder.graph.graph import Array


def to_bf16_bits(values: Array) -> NDArray[np.uint16]:
    """bfloat16, rounded to the nearest (ties to even), as its bits."""
    return values.astype(ml_dtypes.bfloat16).view(np.uint16)


def rounded(values: Array, precision: Precision) -> Array:
    """The float32 values that a weight kept in this precision stands for on a CPU."""
    if precision in CPU_METHODS:
        return quantize_rows(values, FORMATS[precision], method=CPU_METHODS[precision]).values()
    if precision == "bf16":
        return values.astype(ml_dtypes.bfloat16).astype(np.float32)
    return values
