"""The constants of a TensorRT network, kept in the form in which they were passed.

TensorRT copies nothing before it compiles, so every array must outlive that; and constants in
bf16, fp8, int4 or fp4 cannot be read back from it. This registry serves both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmasos_builder.tensorrt.options import ComputeType

_NUMPY_TYPES: dict[ComputeType, Any] = {
    "f32": np.float32,
    "fp16": np.float16,
    "bf16": ml_dtypes.bfloat16,
}


def numpy_type(compute_type: ComputeType) -> np.dtype[Any]:
    """Returns numpy's type for a compute type."""
    return np.dtype(_NUMPY_TYPES[compute_type])


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A constant's array, its TensorRT type and its shape in the network.

    values: as passed to TensorRT. int4 and fp4 are bytes of two values each, the first in the low
    half, row after row; all else has an element for each value.
    """

    values: NDArray[Any]
    dtype: Any
    shape: tuple[int, ...]


class Constants:
    """Constants of one network. by_name: each constant by the name of its layer and tensor."""

    def __init__(self, library: Any, definition: Any, compute_type: ComputeType) -> None:
        self._library = library
        self._definition = definition
        self.numpy_type = numpy_type(compute_type)
        self.dtype: Any = {
            "f32": library.float32,
            "fp16": library.float16,
            "bf16": library.bfloat16,
        }[compute_type]
        self.by_name: dict[str, Constant] = {}
        self._scalars: dict[tuple[float, int, bool], Any] = {}

    def add(
        self,
        values: NDArray[Any],
        dtype: Any,
        *,
        shape: tuple[int, ...] | None = None,
        name: str | None = None,
    ) -> Any:
        """Adds a tensor of these values; shape: needed if two values share a byte, else the
        array's.
        """
        name = name or f"constant.{len(self.by_name)}"
        assert name not in self.by_name, f"{name} is defined twice"
        values = np.ascontiguousarray(values)
        shape = values.shape if shape is None else shape
        count = int(np.prod(shape, dtype=np.int64))
        weights = self._library.Weights(dtype, values.ctypes.data, count)
        layer = self._definition.add_constant(shape, weights)
        assert layer is not None, f"TensorRT refuses the constant {name} {list(shape)}"
        self.by_name[name] = Constant(values=values, dtype=dtype, shape=shape)
        layer.name = name
        tensor = layer.get_output(0)
        tensor.name = name
        return tensor

    def of_compute_type(self, values: ArrayLike, *, name: str | None = None) -> Any:
        """Adds values rounded to the compute type."""
        return self.add(np.asarray(values).astype(self.numpy_type), self.dtype, name=name)

    def float32(self, values: ArrayLike, *, name: str | None = None) -> Any:
        return self.add(np.asarray(values, np.float32), self._library.float32, name=name)

    def scalar(self, value: float, *, rank: int, exact: bool = False) -> Any:
        """Returns [1, ..., 1], shared by all uses; exact: in f32, else in the compute type."""
        key = (value, rank, exact)
        if key not in self._scalars:
            make = self.float32 if exact else self.of_compute_type
            self._scalars[key] = make(np.full((1,) * rank, value))
        return self._scalars[key]

    def int32(self, values: ArrayLike) -> Any:
        return self.add(np.asarray(values, np.int32), self._library.int32)

    def int64(self, *values: int) -> Any:
        """Adds a vector of sizes or axes."""
        return self.add(np.array(values, np.int64), self._library.int64)
