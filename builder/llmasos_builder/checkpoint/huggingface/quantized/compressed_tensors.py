"""The layouts of compressed-tensors, which llm-compressor writes and vLLM reads.

`pack-quantized`, integers of 4 or 8 bits, of which each is stored with half their number added:

    weight_packed      I32 [out, in * bits / 32]      packed along the inputs, lowest bits first
    weight_scale       F16 [out, groups]              groups 1 where a row has one scale
    weight_zero_point  I32 [out * bits / 32, groups]  packed along the outputs, if asymmetric
    weight_shape       I64 [2]
    weight_g_idx       I32 [in]                       the group of each input, with act-order

    value = (code - zero) * scale

`int-quantized` has the codes themselves, `weight` I8 [out, in], and `weight_zero_point` I8;
`float-quantized` the same in F8_E4M3.

`nvfp4-pack-quantized` has two e2m1 numbers in a byte, the low half first, and scales of scales:

    weight_packed  U8 [out, in / 2],  weight_scale  F8_E4M3 [out, in / 16]
    weight_global_scale  F32 [1],  by which scales are divided

`mxfp4-pack-quantized` has groups of 32 with `weight_scale` U8, the exponent of two plus 127.
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from llmasos_builder.checkpoint.huggingface.quantized.layout import (
    Array,
    Parts,
    fields_of,
    group_of,
    nibbles_of,
    spread,
    words_for,
)

_SCALES = frozenset({"weight_scale", "weight_zero_point", "weight_g_idx", "input_scale"}) | {
    "input_zero_point",
    "input_global_scale",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedIntegers:
    """Implements `Layout` for pack-quantized."""

    mark: str = "weight_packed"
    others: frozenset[str] = _SCALES | {"weight_shape"}

    def is_of(self, parts: Parts) -> bool:
        return parts.kind("weight_packed") == "I32" and parts.has("weight_shape")

    def shape(self, parts: Parts) -> tuple[int, int]:
        out, columns = map(int, parts.load("weight_shape", 2))
        if out != parts.shape("weight_packed")[0] or columns < 1:
            raise parts.refuse(f"has the weight_shape {[out, columns]}")
        return out, columns

    def bits(self, parts: Parts) -> int:
        columns, words = self.shape(parts)[1], parts.shape("weight_packed")[1]
        for bits in (4, 8):
            if words_for(columns, bits) == words:
                return bits
        raise parts.refuse(f"has {words} words for {columns} inputs; 4 and 8 bits are read")

    def group(self, parts: Parts) -> int | None:
        if parts.has("weight_g_idx"):
            return None
        return group_of(self.shape(parts)[1], parts.shape("weight_scale")[-1], parts)

    def values(self, parts: Parts) -> Array:
        (out, columns), bits = self.shape(parts), self.bits(parts)
        words = parts.load("weight_packed", out, words_for(columns, bits), kind="I32")
        codes = fields_of(words, bits)[:, :columns] - np.int32(1 << (bits - 1))
        groups = parts.shape("weight_scale")[-1]
        if parts.has("weight_zero_point"):
            packed = parts.load("weight_zero_point", words_for(out, bits), groups, kind="I32")
            zeros = fields_of(packed.T, bits)[:, :out].T - np.int32(1 << (bits - 1))
            codes = codes - zeros[:, _group_of_columns(parts, columns, groups)]
        return _scaled(parts, codes.astype(np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainNumbers:
    """Implements `Layout` for int-quantized and float-quantized."""

    mark: str = "weight_scale"
    others: frozenset[str] = _SCALES | {"weight"}

    def is_of(self, parts: Parts) -> bool:
        return parts.has("weight") and parts.kind("weight") in ("I8", "F8_E4M3")

    def shape(self, parts: Parts) -> tuple[int, int]:
        shape = parts.shape("weight")
        if len(shape) != 2:
            raise parts.refuse(f"has the shape {list(shape)}")
        return shape[0], shape[1]

    def bits(self, parts: Parts) -> int:
        del parts
        return 8

    def group(self, parts: Parts) -> int | None:
        del parts
        return None

    def values(self, parts: Parts) -> Array:
        out, columns = self.shape(parts)
        codes = parts.load("weight", out, columns).astype(np.float32)
        if parts.has("weight_zero_point"):
            found = parts.shape("weight_zero_point")
            zeros = parts.load_values("weight_zero_point", *found)
            if zeros.any():
                per_row = zeros.reshape(-1, zeros.shape[-1] if zeros.ndim > 1 else 1)
                codes -= spread(np.broadcast_to(per_row, (out, per_row.shape[1])), columns)
        return _scaled(parts, codes)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFloats:
    """Implements `Layout` for nvfp4-pack-quantized and mxfp4-pack-quantized."""

    mark: str = "weight_packed"
    others: frozenset[str] = _SCALES | {"weight_global_scale"}

    def is_of(self, parts: Parts) -> bool:
        return parts.kind("weight_packed") == "U8"

    def shape(self, parts: Parts) -> tuple[int, int]:
        out, half = parts.shape("weight_packed")
        return out, 2 * half

    def bits(self, parts: Parts) -> int:
        del parts
        return 4

    def group(self, parts: Parts) -> int | None:
        del parts  # the numbers are no integers
        return None

    def values(self, parts: Parts) -> Array:
        out, columns = self.shape(parts)
        numbers = e2m1(parts.load("weight_packed", out, columns // 2))
        groups = parts.shape("weight_scale")[-1]
        group_of(columns, groups, parts)
        scales = parts.load("weight_scale", out, groups)
        if scales.dtype == np.uint8:
            return numbers * spread(e8m0(scales), columns)
        factors = scales.astype(np.float32) / parts.load_values("weight_global_scale", 1)
        return numbers * spread(factors, columns)


def e2m1(packed: NDArray[np.uint8]) -> Array:
    """Two numbers of 4 bits (sign, two of exponent, one of mantissa) in each byte, as float32."""
    values: Array = nibbles_of(packed).view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    return values


def e8m0(exponents: NDArray[np.uint8]) -> Array:
    """Powers of two by their exponent plus 127."""
    powers: Array = np.exp2(exponents.astype(np.float32) - np.float32(127))
    return powers


def _scaled(parts: Parts, codes: Array) -> Array:
    """Multiplies by scales of a matrix, a row or groups."""
    out, columns = codes.shape
    found = parts.shape("weight_scale")
    scales = parts.load_values("weight_scale", *found)
    if scales.size == 1:
        return codes * scales.reshape(())
    if found not in ((out,), (out, found[-1])):
        raise parts.refuse(f"has scales of the shape {list(found)}")
    by_row = scales.reshape(out, -1)
    return codes * by_row[:, _group_of_columns(parts, columns, by_row.shape[1])]


def _group_of_columns(parts: Parts, columns: int, groups: int) -> NDArray[np.int64]:
    if parts.has("weight_g_idx"):
        order: NDArray[np.int64] = parts.load("weight_g_idx", columns).astype(np.int64)
        if order.min() >= 0:
            if order.max() >= groups:
                raise parts.refuse(f"has inputs in group {order.max()}, and {groups} groups")
            return order
    return np.arange(columns) // group_of(columns, groups, parts)
