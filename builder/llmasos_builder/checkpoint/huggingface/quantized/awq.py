"""AWQ's layout, as AutoAWQ's GEMM version and llm-awq write it.

qweight  I32 [in, out / 8]       8 codes of neighbouring outputs in a word
qzeros   I32 [groups, out / 8]   zero points, packed alike
scales   F16 [groups, out]

nibble    [7] [6] [5] [4] [3] [2] [1] [0]   (lowest last)
output     7   5   3   1   6   4   2   0    of the word's eight

value[o, i] = scales[g, o] * (code[i, o] - zero[g, o]),  g = i // group
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from llmasos.errors import CheckpointError
from numpy.typing import NDArray

from llmasos_builder.checkpoint.huggingface.quantized.layout import (
    Array,
    Parts,
    fields_of,
    group_of,
)

_OUTPUT_OF_NIBBLE = (0, 2, 4, 6, 1, 3, 5, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class AwqLayout:
    """Implements `Layout`."""

    mark: str = "qweight"
    others: frozenset[str] = frozenset({"qzeros", "scales"})

    @classmethod
    def of(cls, config: Mapping[str, Any], path: str) -> AwqLayout:
        """Reads quantization_config, in AutoAWQ's spelling or transformers'."""
        bits = config.get("bits", config.get("w_bit"))
        if bits != 4:
            raise CheckpointError(f"{path}: bits of awq is {bits!r}, must be 4")
        version = str(config.get("version", "gemm")).lower()
        if version != "gemm":
            raise CheckpointError(f"{path}: version {version!r} of awq is not read, gemm is")
        return cls()

    def is_of(self, parts: Parts) -> bool:
        return parts.has("scales")

    def shape(self, parts: Parts) -> tuple[int, int]:
        columns, words = parts.shape("qweight")
        return words * 8, columns

    def bits(self, parts: Parts) -> int:
        del parts
        return 4

    def group(self, parts: Parts) -> int | None:
        return group_of(self.shape(parts)[1], parts.shape("scales")[0], parts)

    def values(self, parts: Parts) -> Array:
        out, columns = self.shape(parts)
        groups = parts.shape("scales")[0]
        group = group_of(columns, groups, parts)
        scales = parts.load_values("scales", groups, out).T
        zeros = _in_order(parts.load("qzeros", groups, out // 8, kind="I32")).T
        codes = _in_order(parts.load("qweight", columns, out // 8, kind="I32")).T
        difference = codes - np.repeat(zeros, group, axis=1)
        values: Array = difference.astype(np.float32) * np.repeat(scales, group, axis=1)
        return values


def _in_order(words: NDArray[Any]) -> NDArray[np.int32]:
    nibbles = fields_of(words, 4).reshape(len(words), -1, 8)
    ordered: NDArray[np.int32] = np.empty_like(nibbles)
    ordered[..., _OUTPUT_OF_NIBBLE] = nibbles
    return ordered.reshape(len(words), -1)
