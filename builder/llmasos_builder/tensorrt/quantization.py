"""Weight-only quantization for TensorRT, and the exact values of a weight after it.

Codes of int8 and int4 come from `graph.quantizer` and are packed here in TensorRT's form;
fp8 and nvfp4 are made here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
from llmasos.engine.weight_format import FORMATS
from llmasos.errors import InvalidRequestError
from numpy.typing import NDArray

from llmasos_builder.graph import Array
from llmasos_builder.graph.quantizer import (
    QuantizedRows,
    quantize_rows,
    row_blocks,
    scale_of,
)
from llmasos_builder.tensorrt.constants import numpy_type
from llmasos_builder.tensorrt.options import ComputeType

QuantizedPrecision = Literal["int8", "int4", "fp8", "nvfp4"]
_LARGEST = {"fp8": 448.0, "nvfp4": 6.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedMatrix:
    """A matrix [out, in] as values and scales; each number is its value times its scale.

    values: int8 and fp8 [out, in]; int4 and nvfp4 bytes [out, in / 2], first value low.
    scales: in the compute type, for int8 [out], int4 [out, in / group], fp8 [] (f32 if it was
    given); for nvfp4 fp8 [out, in / 16], to be multiplied by global_scale, in f32.
    """

    precision: QuantizedPrecision
    shape: tuple[int, int]
    values: NDArray[Any]
    scales: NDArray[Any]
    global_scale: NDArray[np.float32] | None = None


def quantize(
    name: str, values: Array, precision: QuantizedPrecision, compute_type: ComputeType
) -> QuantizedMatrix:
    """Quantizes symmetrically: the largest value of each scale becomes the precision's largest.

    Raises InvalidRequestError, with the name, for a matrix that does not divide into groups.
    """
    dtype = numpy_type(compute_type)
    match precision:
        case "int8" | "int4":
            _group(name, values.shape[1], precision)
            return matrix_of_rows(quantize_rows(values, FORMATS[precision], scale_type=dtype))
        case "fp8":
            return _quantize_fp8(values, dtype)
        case "nvfp4":
            return _quantize_nvfp4(name, values)


def quantize_by(values: Array, scale: float) -> QuantizedMatrix:
    """Quantizes to fp8 by a given scale, kept in f32; values that were fp8 by it are exact.

    values: e4m3 times the scale, perhaps rounded.
    """
    quantized = np.empty(values.shape, ml_dtypes.float8_e4m3fn)
    for rows in row_blocks(values.shape):
        quotient = values[rows] / np.float32(scale)
        quantized[rows] = quotient.clip(-_LARGEST["fp8"], _LARGEST["fp8"]).astype(quantized.dtype)
    return QuantizedMatrix(
        precision="fp8",
        shape=_matrix(values),
        values=quantized,
        scales=np.array(scale, np.float32),
    )


def dequantize(matrix: QuantizedMatrix, compute_type: ComputeType) -> Array:
    """Returns the f32 values, rounded to the compute type, that TensorRT multiplies with."""
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


def matrix_of_rows(rows: QuantizedRows) -> QuantizedMatrix:
    """Packs a matrix that is already quantized, with its own codes and scales."""
    codes, scales = rows.codes.reshape(rows.shape), rows.scales[..., 0]
    if rows.format.kind == "int4":
        packed = _packed(codes.view(np.uint8))
        return QuantizedMatrix(precision="int4", shape=rows.shape, values=packed, scales=scales)
    return QuantizedMatrix(precision="int8", shape=rows.shape, values=codes, scales=scales[:, 0])


def _group(name: str, width: int, precision: QuantizedPrecision) -> int:
    """Returns the group size of a row. Raises InvalidRequestError if none divides it."""
    stored = FORMATS[precision]
    group = stored.group_of(width)
    if group is None:
        raise InvalidRequestError(
            f"precision {precision} needs weights whose inputs divide by "
            f"{stored.smallest_group}, and {name} has {width}",
            hint="choose int8",
        )
    return group


def _quantize_fp8(values: Array, dtype: np.dtype[Any]) -> QuantizedMatrix:
    largest = max(abs(float(values.max())), abs(float(values.min())))
    scale = scale_of(np.array(largest, np.float32), _LARGEST["fp8"], dtype)
    quantized = np.empty(values.shape, ml_dtypes.float8_e4m3fn)
    for rows in row_blocks(values.shape):
        quantized[rows] = (values[rows] / scale.astype(np.float32)).astype(quantized.dtype)
    return QuantizedMatrix(precision="fp8", shape=_matrix(values), values=quantized, scales=scale)


def _quantize_nvfp4(name: str, values: Array) -> QuantizedMatrix:
    out, width = _matrix(values)
    group = _group(name, width, "nvfp4")
    largest = max(abs(float(values.max())), abs(float(values.min())))
    global_scale = np.array(max(largest, 1e-12) / (_LARGEST["nvfp4"] * 448), np.float32)
    packed = np.empty((out, width // 2), np.uint8)
    scales = np.empty((out, width // group), ml_dtypes.float8_e4m3fn)
    for rows in row_blocks(values.shape):
        block = values[rows].reshape(-1, width // group, group)
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


def _packed(nibbles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Packs [rows, n] in the low half of each byte to [rows, n / 2]."""
    return np.bitwise_or(nibbles[:, 1::2] << 4, nibbles[:, 0::2] & 15, dtype=np.uint8)


def _unpacked(packed: NDArray[np.uint8], precision: str) -> NDArray[Any]:
    nibbles: NDArray[Any] = np.stack([packed & 15, packed >> 4], axis=-1)
    nibbles = nibbles.reshape(len(packed), -1)
    if precision == "nvfp4":
        return nibbles.view(ml_dtypes.float4_e2m1fn)
    signed: NDArray[Any] = (nibbles ^ 8).astype(np.int8) - 8
    return signed


def _matrix(values: Array) -> tuple[int, int]:
    out, width = values.shape
    return out, width
