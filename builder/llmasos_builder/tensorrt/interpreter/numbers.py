"""TensorRT's data types in numpy: how each is held, and how values are rounded to it.

Floats of every type are held as float32 values that the type can express, so that one formula
serves all of them; integers are held as they are, and wrap as they do on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from llmasos_builder.tensorrt.interpreter.errors import InterpretationError

Array = NDArray[Any]

FLOATS = frozenset({"FLOAT", "HALF", "BF16", "FP8", "FP4"})
# E2M1: a sign, two bits of exponent, one of mantissa (OCP Microscaling Formats, 5.3.3).
FP4_VALUES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
_FP8_LARGEST = 448
_HELD_AS: dict[str, Any] = {
    **dict.fromkeys(FLOATS, np.float32),
    "INT64": np.int64,
    "INT32": np.int32,
    "INT8": np.int8,
    "INT4": np.int8,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}


def _through(kind: Any) -> Callable[[Array], Array]:
    return lambda values: values.astype(kind).astype(np.float32)


def _through_fp8(values: Array) -> Array:
    clipped = np.clip(values, -_FP8_LARGEST, _FP8_LARGEST)
    return clipped.astype(ml_dtypes.float8_e4m3fn).astype(np.float32)


_ROUND: dict[str, Callable[[Array], Array]] = {
    "HALF": _through(np.float16),
    "BF16": _through(ml_dtypes.bfloat16),
    "FP8": _through_fp8,
}


def held(values: Array, dtype: str) -> Array:
    """Returns the values in the array type that holds this type here, without rounding."""
    if dtype not in _HELD_AS:
        raise InterpretationError(f"tensors of the type {dtype} cannot be interpreted")
    return np.asarray(values, _HELD_AS[dtype])


def rounded_to(values: Array, dtype: str) -> Array:
    """Rounds values to this type: to the nearest, ties to even."""
    exact = held(values, dtype)
    return _ROUND[dtype](exact) if dtype in _ROUND else exact
