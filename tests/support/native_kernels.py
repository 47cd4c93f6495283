"""Kernels called alone, on arrays of numpy."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from llmasos.engine.native_step import StepField
from llmasos_builder.native.rows import ACTIVATIONS
from llmasos_builder.native.vectors import ldF, native, stF, table
from numba import njit
from numpy.typing import NDArray

Matrix = NDArray[np.float32]


def aligned(array: NDArray[Any]) -> NDArray[Any]:
    """A copy at a multiple of 64 bytes, as in the weights' file."""
    memory = np.zeros(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy: NDArray[Any] = memory[start : start + array.nbytes].view(array.dtype)
    copy = copy.reshape(array.shape)
    copy[...] = array
    return copy


@lru_cache
def callable_from_python(kernel: Any, num_addresses: int, num_floats: int = 0) -> Any:
    """A kernel of so many integers, and then so many f32."""
    names = [f"a{n}" for n in range(num_addresses)] + [f"f{n}" for n in range(num_floats)]
    scope: dict[str, Any] = {"kernel": kernel}
    exec(f"def run({', '.join(names)}):\n    kernel({', '.join(names)})\n", scope)
    types = ["int64"] * num_addresses + ["float32"] * num_floats
    return njit(f"void({', '.join(types)})", error_model="numpy")(scope["run"])


@lru_cache
def with_arguments(kernel: Any, num_addresses: int) -> Any:
    """A kernel whose first argument is the step's: it is given the array's address."""
    names = [f"a{n}" for n in range(num_addresses)]
    scope: dict[str, Any] = {"kernel": kernel, "table": table}
    source = f"def run(c, {', '.join(names)}):\n    kernel(table(c), {', '.join(names)})\n"
    exec(source, scope)
    return njit(f"void({', '.join(['int64'] * (num_addresses + 1))})")(scope["run"])


@lru_cache
def elementwise(name: str) -> Callable[[Matrix], Matrix]:
    """An activation, for arrays of a multiple of 16 numbers."""
    activate = ACTIVATIONS[name]  # type: ignore[index]  # names are tested

    @native
    def run(source: int, target: int, count: int) -> None:
        for j in range(0, 4 * count, 64):
            stF(target + j, activate(ldF(source + j)))

    compiled = callable_from_python(run, 3)

    def apply(values: Matrix) -> Matrix:
        result = np.empty_like(values)
        compiled(values.ctypes.data, result.ctypes.data, values.size)
        return result

    return apply


def quantized(values: Matrix, zero: int) -> NDArray[np.uint8]:
    """Rows as the tile reads them: bytes, scales and sums, one after the other."""
    rows, width = values.shape
    groups = values.reshape(rows, width // 64, 64)
    most = np.abs(groups).max(axis=2, keepdims=True)
    inverse = np.where(most > 0, np.float32(127) / np.where(most > 0, most, 1), 0)
    q = np.rint(groups * inverse.astype(np.float32)).astype(np.int8)
    sums = (-zero * q.astype(np.int32).sum(axis=2)).astype(np.int32)
    scales = (most[..., 0] / np.float32(127)).astype(np.float32)
    content = q.tobytes() + scales.tobytes() + sums.tobytes()
    return np.frombuffer(content, np.uint8).copy()


def parts_of(memory: NDArray[np.uint8], rows: int, width: int) -> tuple[Any, Any, Any]:
    """Bytes [rows, width], scales and sums [rows, groups] of quantized rows."""
    groups = width // 64
    end = rows * width
    scales = memory[end : end + 4 * rows * groups].view(np.float32).reshape(rows, groups)
    sums = memory[end + 4 * rows * groups : end + 8 * rows * groups].view(np.int32)
    return memory[:end].view(np.int8).reshape(rows, width), scales, sums.reshape(rows, groups)


def arguments(**values: int) -> NDArray[np.int64]:
    """The step's array, with these fields."""
    array = np.zeros(len(StepField), np.int64)
    for name, value in values.items():
        array[StepField[name.upper()]] = value
    return array


def bits_of(value: float) -> int:
    return int(np.float32(value).view(np.int32))
