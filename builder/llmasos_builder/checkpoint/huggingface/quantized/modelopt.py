"""NVIDIA ModelOpt's NVFP4.

weight          U8 [out, in / 2]         two e2m1 numbers in a byte, the low half first
weight_scale    F8_E4M3 [out, in / 16]
weight_scale_2  F32 []                   a factor, where compressed-tensors has a divisor

value = e2m1 * (weight_scale * weight_scale_2)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmasos_builder.checkpoint.huggingface.quantized.compressed_tensors import e2m1
from llmasos_builder.checkpoint.huggingface.quantized.layout import Array, Parts, group_of, spread


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptNvfp4:
    """Implements `Layout`."""

    mark: str = "weight_scale_2"
    others: frozenset[str] = frozenset({"weight", "weight_scale", "input_scale"})

    def is_of(self, parts: Parts) -> bool:
        return parts.has("weight") and parts.kind("weight") == "U8"

    def shape(self, parts: Parts) -> tuple[int, int]:
        out, half = parts.shape("weight")
        return out, 2 * half

    def bits(self, parts: Parts) -> int:
        del parts
        return 4

    def group(self, parts: Parts) -> int | None:
        del parts  # the numbers are no integers
        return None

    def values(self, parts: Parts) -> Array:
        out, columns = self.shape(parts)
        groups = parts.shape("weight_scale")[-1]
        group_of(columns, groups, parts)
        scales = parts.load_values("weight_scale", out, groups)
        factor = parts.load_values("weight_scale_2", *parts.shape("weight_scale_2"))
        if factor.size != 1:
            raise parts.refuse(f"has {factor.size} numbers in weight_scale_2, 1 expected")
        numbers = e2m1(parts.load("weight", out, columns // 2))
        values: Array = numbers * spread(scales * np.float32(factor.reshape(())), columns)
        return values
