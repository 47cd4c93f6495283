"""GPTQ's layout, as AutoGPTQ, GPTQModel and optimum write it.

    qweight  I32 [in * bits / 32, out]      codes, packed along the inputs, lowest bits first
    qzeros   I32 [groups, out * bits / 32]  zero points, packed along the outputs
    scales   F16 [groups, out]
    g_idx    I32 [in]                       the group of each input; any order with act-order

    value[o, i] = scales[g, o] * (code[i, o] - zero[g, o]),  g = g_idx[i]

Version 1 (`checkpoint_format: gptq`, and files that do not say) stores zero - 1, version 2
(`gptq_v2`) zero itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from llmasos.errors import CheckpointError

from llmasos_builder.checkpoint.huggingface.quantized.layout import Array, Parts, fields_of

_BITS = (2, 4, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class GptqLayout:
    """Implements `Layout`. zero_offset: what is added to a stored zero point."""

    num_bits: int
    group_size: int
    zero_offset: int
    mark: str = "qweight"
    others: frozenset[str] = frozenset({"qzeros", "scales", "g_idx"})

    @classmethod
    def of(cls, config: Mapping[str, Any], path: str) -> GptqLayout:
        """Reads quantization_config. Raises CheckpointError, which names the field."""
        version = config.get("checkpoint_format") or config.get("format") or "gptq"
        if version not in ("gptq", "gptq_v2"):
            raise CheckpointError(f"{path}: checkpoint_format {version!r} of gptq is not read")
        if config.get("bits") not in _BITS:
            raise CheckpointError(
                f"{path}: bits of gptq is {config.get('bits')!r}, must be 2, 4, 8"
            )
        size = config.get("group_size", -1)
        if type(size) is not int or (size < 1 and size != -1):
            raise CheckpointError(f"{path}: group_size of gptq is {size!r}, must be -1 or above 0")
        return cls(
            num_bits=config["bits"],
            group_size=size,
            zero_offset=0 if version == "gptq_v2" else 1,
        )

    def is_of(self, parts: Parts) -> bool:
        return parts.has("scales")

    def shape(self, parts: Parts) -> tuple[int, int]:
        rows, out = self._stored(parts)
        return out, rows * 32 // self.num_bits

    def bits(self, parts: Parts) -> int:
        del parts
        return self.num_bits

    def group(self, parts: Parts) -> int | None:
        """None where act-order has scattered a group's inputs."""
        columns = self.shape(parts)[1]
        size = columns if self.group_size == -1 else self.group_size
        if parts.has("g_idx"):
            order = parts.load("g_idx", columns)
            if not np.array_equal(order, np.arange(columns) // size):
                return None
        return size

    def values(self, parts: Parts) -> Array:
        out, columns = self.shape(parts)
        groups = parts.shape("scales")[0]
        scales = parts.load_values("scales", groups, out)
        packed = parts.load("qzeros", groups, out * self.num_bits // 32, kind="I32")
        zeros = fields_of(packed, self.num_bits) + np.int32(self.zero_offset)
        words = parts.load("qweight", *self._stored(parts), kind="I32")
        codes = fields_of(words.T, self.num_bits)
        of_column = self._group_of_columns(parts, columns, groups)
        difference = codes - zeros.T[:, of_column]
        values: Array = difference.astype(np.float32) * scales.T[:, of_column]
        return values

    def _group_of_columns(self, parts: Parts, columns: int, groups: int) -> Any:
        size = columns if self.group_size == -1 else self.group_size
        order = parts.load("g_idx", columns) if parts.has("g_idx") else np.arange(columns) // size
        # Counted from the end where it is negative, as torch does for old files.
        if order.min() < -groups or order.max() >= groups:
            raise parts.refuse(f"has inputs in group {order.max()}, and {groups} groups")
        return order

    def _stored(self, parts: Parts) -> tuple[int, int]:
        shape = parts.shape("qweight")
        if len(shape) != 2 or shape[1] * self.num_bits % 32:
            raise parts.refuse(f"has qweight of the shape {list(shape)}")
        return shape[0], shape[1]
