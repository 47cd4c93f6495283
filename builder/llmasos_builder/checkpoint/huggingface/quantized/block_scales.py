"""e4m3 in blocks, as DeepSeek-V3 and Qwen3's FP8 checkpoints are.

weight            F8_E4M3 [out, in]
weight_scale_inv  F32 [out / rows, in / columns], rounded up; multiplied in spite of its name

value[o, i] = weight[o, i] * weight_scale_inv[o // rows, i // columns]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from llmasos.errors import CheckpointError

from llmasos_builder.checkpoint.huggingface.quantized.layout import Array, Parts


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockScales:
    """Implements `Layout`. rows, columns: of a block."""

    rows: int
    columns: int
    mark: str = "weight_scale_inv"
    others: frozenset[str] = frozenset({"weight", "input_scale"})

    @classmethod
    def of(cls, config: Mapping[str, Any], path: str) -> BlockScales:
        """Reads weight_block_size of quantization_config."""
        match config.get("weight_block_size"):
            case [int(rows), int(columns)] if rows > 0 and columns > 0:
                return cls(rows=rows, columns=columns)
            case found:
                raise CheckpointError(
                    f"{path}: weight_block_size is {found!r}, must be two numbers above 0"
                )

    def is_of(self, parts: Parts) -> bool:
        return parts.has("weight") and parts.kind("weight") == "F8_E4M3"

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
        down, across = math.ceil(out / self.rows), math.ceil(columns / self.columns)
        scales = parts.load_values("weight_scale_inv", down, across)
        values = parts.load("weight", out, columns).astype(np.float32)
        for index in range(down):
            rows = slice(index * self.rows, (index + 1) * self.rows)
            values[rows] *= np.repeat(scales[index], self.columns)[:columns]
        return values
