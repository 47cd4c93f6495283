"""Weight-only quantization for TensorRT, and exactly what is left of a weight after it.

Scales are rounded, upwards, to the type they are kept in before values are divided by them,
so that rounding a scale neither adds an error nor pushes a value out of range.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
from llmasos.errors import InvalidRequestError
from numpy.typing import NDArray

from llmasos_builder.graph import Array
from llmasos_builder.tensorrt.constants import numpy_type
from llmasos_builder.tensorrt.options import ComputeType

QuantizedPrecision = Literal["int8", "int4", "fp8", "nvfp4"]
INT4_GROUPS = (128, 64, 32)
NVFP4_GROUP = 16
_LARGEST = {"int8": 127.0, "int4": 7.0, "fp8": 448.0, "nvfp4": 6.0}
_BLOCK_ELEMENTS = 1 << 22  # bounds the memory that quantizing takes


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedMatrix:
    """A matrix [out, in] as values and scales: a value stands for itself times its scale.

    values: int8 and fp8 [out, in]; int4 and nvfp4 bytes [out, in / 2], first value low.
    scales: in the compute type, for int8 [out], int4 [out, in / group], fp8 [], which is f32
        where it was given; for nvfp4 fp8 [out, in / 16], which are themselves to be multiplied
        with global_scale, in f32.
    """

    precision: QuantizedPrecision
    shape: tuple[int, int]
    values: NDArray[Any]
    scales: NDArray[Any]
    global_scale: NDArray[np.float32] | None = None


def quantize(
    name: str, values: Array, precision: QuantizedPrecision, compute_type: ComputeType
) -> QuantizedMatrix:
    """Symmetric: of each scale, the largest value becomes the largest of the precision.

    Raises InvalidRequestError, with the name, for a matrix that does not divide into groups.
    """
    dtype = numpy_type(compute_type)
    match precision:
        case "int8":
            return _quantize_int8(values, dtype)
        case "int4":
            return _quantize_int4(name, values, dtype)
        case "fp8":
            return _quantize_fp8(values, dtype)
        case "nvfp4":
            return _quantize_nvfp4(name, values)


def quantize_by(values: Array, scale: float) -> QuantizedMatrix:
    """To fp8, by a scale that is given and kept in f32: of what has been fp8 by it, exactly that.

    values: rounded, if at all, from e4m3 times the scale.
    """
    quantized = np.empty(values.shape, ml_dtypes.float8_e4m3fn)
    for rows in _blocks(values.shape):
        quotient = values[rows] / np.float32(scale)
        quantized[rows] = quotient.clip(-_LARGEST["fp8"], _LARGEST["fp8"]).astype(quantized.dtype)
    return QuantizedMatrix(
        precision="fp8",
        shape=_matrix(values),
        values=quantized,
        scales=np.array(scale, np.float32),
    )


def dequantize(matrix: QuantizedMatrix, compute_type: ComputeType) -> Array:
    """The f32 values, rounded to the compute type, that TensorRT multiplies with."""
    dtype = numpy_type(compute_type)
    values, scales = matrix.values, matrix.scales.astype(np.float32)
    if matrix.precision in ("int4", "nvfp4"):
        values = _unpacked(values, matrix.precision)
    if matrix.global_scale is not None:
        scales = (scales * matrix.global_scale).astype(dtype).astype(np.float32)
    if scales.ndim == 1:
        scales = scales[:, None]
    elif scales.ndim == 2:
        scales = np.repeat(scales, values.shape[1] // scales.shape[1], axis=1)
    exact: Array = values.astype(np.float32) * scales
    return exact.astype(dtype).astype(np.float32)


def int4_group(name: str, width: int) -> int:
    """How many neighbours along the input share a scale."""
    for group in INT4_GROUPS:
        if width % group == 0:
            return group
    raise _no_groups(name, "int4", width, INT4_GROUPS[-1])


def _quantize_int8(values: Array, dtype: np.dtype[Any]) -> QuantizedMatrix:
    quantized = np.empty(values.shape, np.int8)
    scales = np.empty(len(values), dtype)
    for rows in _blocks(values.shape):
        block = values[rows]
        scales[rows] = _scale(np.abs(block).max(axis=1), "int8", dtype)
        quantized[rows] = np.rint(block / scales[rows].astype(np.float32)[:, None])
    return QuantizedMatrix(precision="int8", shape=_matrix(values), values=quantized, scales=scales)


def _quantize_int4(name: str, values: Array, dtype: np.dtype[Any]) -> QuantizedMatrix:
    out, width = _matrix(values)
    group = int4_group(name, width)
    packed = np.empty((out, width // 2), np.uint8)
    scales = np.empty((out, width // group), dtype)
    for rows in _blocks(values.shape):
        block = values[rows].reshape(-1, width // group, group)
        scales[rows] = _scale(np.abs(block).max(axis=2), "int4", dtype)
        quantized = np.rint(block / scales[rows].astype(np.float32)[..., None]).astype(np.int8)
        packed[rows] = _packed(quantized.reshape(-1, width).view(np.uint8))
    return QuantizedMatrix(precision="int4", shape=(out, width), values=packed, scales=scales)


def _quantize_fp8(values: Array, dtype: np.dtype[Any]) -> QuantizedMatrix:
    largest = max(abs(float(values.max())), abs(float(values.min())))
    scale = _scale(np.array(largest, np.float32), "fp8", dtype)
    quantized = np.empty(values.shape, ml_dtypes.float8_e4m3fn)
    for rows in _blocks(values.shape):
        quantized[rows] = (values[rows] / scale.astype(np.float32)).astype(quantized.dtype)
    return QuantizedMatrix(precision="fp8", shape=_matrix(values), values=quantized, scales=scale)


def _quantize_nvfp4(name: str, values: Array) -> QuantizedMatrix:
    out, width = _matrix(values)
    if width % NVFP4_GROUP:
        raise _no_groups(name, "nvfp4", width, NVFP4_GROUP)
    largest = max(abs(float(values.max())), abs(float(values.min())))
    global_scale = np.array(max(largest, 1e-12) / (_LARGEST["nvfp4"] * 448), np.float32)
    packed = np.empty((out, width // 2), np.uint8)
    scales = np.empty((out, width // NVFP4_GROUP), ml_dtypes.float8_e4m3fn)
    for rows in _blocks(values.shape):
        block = values[rows].reshape(-1, width // NVFP4_GROUP, NVFP4_GROUP)
        ideal = np.abs(block).max(axis=2) / _LARGEST["nvfp4"] / global_scale
        scales[rows] = np.clip(ideal, 2.0**-9, 448).astype(scales.dtype)
        each = scales[rows].astype(np.float32) * global_scale
        scaled = np.clip(block / each[..., None], -6, 6).astype(ml_dtypes.float4_e2m1fn)
        packed[rows] = _packed(scaled.reshape(-1, width).view(np.uint8))
    return QuantizedMatrix(
        precision="nvfp4",
        shape=(out, width),
        values=packed,
        scales=scales,
        global_scale=global_scale,
    )


def _scale(largest: NDArray[Any], precision: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Of values up to `largest`: the smallest scale of this type that keeps them in range."""
    ideal = np.asarray(largest / np.float32(_LARGEST[precision]))
    rounded = ideal.astype(dtype)
    up: NDArray[Any] = np.nextafter(rounded, np.array(np.inf, dtype))
    scale: NDArray[Any] = np.where(rounded.astype(np.float32) < ideal, up, rounded)
    return np.where(largest == 0, np.array(1, dtype), scale)


def _packed(nibbles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[rows, n] in the low half of each byte, to [rows, n / 2]."""
    return np.bitwise_or(nibbles[:, 1::2] << 4, nibbles[:, 0::2] & 15, dtype=np.uint8)


def _unpacked(packed: NDArray[np.uint8], precision: str) -> NDArray[Any]:
    nibbles: NDArray[Any] = np.stack([packed & 15, packed >> 4], axis=-1)
    nibbles = nibbles.reshape(len(packed), -1)
    if precision == "nvfp4":
        return nibbles.view(ml_dtypes.float4_e2m1fn)
    signed: NDArray[Any] = (nibbles ^ 8).astype(np.int8) - 8
    return signed


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    step = max(1, _BLOCK_ELEMENTS // max(1, shape[1]))
    for start in range(0, shape[0], step):
        yield slice(start, start + step)


def _matrix(values: Array) -> tuple[int, int]:
    out, width = values.shape
    return out, width


def _no_groups(name: str, precision: str, width: int, group: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"precision {precision} needs weights whose inputs divide by {group}, and {name} has "
        f"{width}",
        hint="choose int8",
    )
