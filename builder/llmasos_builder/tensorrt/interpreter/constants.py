"""Reads constants of a network with the exact bits that TensorRT was given.

numpy lacks some of TensorRT's types, and such constants cannot be read back from the network. The
compiler keeps their arrays by name; two values of four bits share a byte, the first in its low
half.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import ml_dtypes
import numpy as np

from llmasos_builder.tensorrt.interpreter.layer import Layer
from llmasos_builder.tensorrt.interpreter.numbers import FP4_VALUES, Array, held


class Given(Protocol):
    """A constant as passed to TensorRT: the array in memory, its type and its shape."""

    @property
    def values(self) -> Array: ...

    @property
    def dtype(self) -> Any: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


Constants = Mapping[str, Given]
_BITS: Mapping[str, Any] = {"BF16": ml_dtypes.bfloat16, "FP8": ml_dtypes.float8_e4m3fn}


def read_constant(layer: Layer, constants: Constants) -> Array:
    """Returns the values of a constant layer.

    constants: by the name of a layer or of its tensor. Raises InterpretationError if one is needed
    and missing, or does not fit the layer.
    """
    (output,) = layer.outputs
    weights = layer.settings.weights
    if isinstance(weights, np.ndarray):
        # A copy: the memory is the compiler's, and lives no longer than it does.
        return held(weights.copy(), output.dtype).reshape(output.shape)
    given = constants.get(output.name, constants.get(layer.name))
    if given is None:
        raise layer.error(f"nothing was kept of it, and {output.dtype} cannot be read back")
    if (given.dtype.name, tuple(given.shape)) != (output.dtype, output.shape):
        raise layer.error(f"{given.dtype.name}{list(given.shape)} was kept of it")
    values = _decoded(given.values, output.dtype)
    if values.size != np.prod(output.shape, dtype=int):
        raise layer.error(f"{values.size} values were kept of {list(output.shape)}")
    return values.reshape(output.shape)


def _decoded(array: Array, dtype: str) -> Array:
    if dtype == "INT4":
        nibbles = _nibbles(array).astype(np.int8)
        return np.where(nibbles > 7, nibbles - 16, nibbles).astype(np.int8)
    if dtype == "FP4":
        nibbles = _nibbles(array)
        magnitudes: Array = FP4_VALUES[nibbles & 7]
        return np.where(nibbles & 8, -magnitudes, magnitudes)
    if dtype in _BITS:
        return held(np.ascontiguousarray(array).view(_BITS[dtype]), dtype)
    return held(array, dtype)


def _nibbles(array: Array) -> Array:
    packed = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    halves: Array = np.stack([packed & 15, packed >> 4], axis=-1)
    return halves.reshape(-1)
