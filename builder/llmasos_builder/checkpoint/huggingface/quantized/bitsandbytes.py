"""The layouts of bitsandbytes: nf4, fp4 and int8.

In 4 bits a matrix is a row of blocks, whatever its shape:

    weight                                    U8 [out * in / 2, 1]  the high half first
    weight.quant_map                          F32 [16]              what each code stands for
    weight.absmax                             F32 [blocks]          or U8 if it is quantized too
    weight.nested_absmax, .nested_quant_map   F32 [blocks / 256], F32 [256]
    weight.quant_state.bitsandbytes__nf4      U8, JSON: shape, blocksize, nested_offset, …

    value = quant_map[code] * absmax[position // blocksize]
    absmax = nested_quant_map[absmax code] * nested_absmax[block // 256] + nested_offset

In 8 bits `weight` I8 [out, in] and `SCB` F32 [out], the largest of each row:

    value = weight * SCB * (1 / 127)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from llmasos.files.json_file import parse_json_object
from numpy.typing import NDArray

from llmasos_builder.checkpoint.huggingface.quantized.layout import Array, Parts

_STATES = ("weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocksOfFour:
    """Implements `Layout` for nf4 and fp4."""

    mark: str = "weight.quant_map"
    others: frozenset[str] = frozenset(_STATES) | {
        "weight",
        "weight.absmax",
        "weight.nested_absmax",
        "weight.nested_quant_map",
    }

    def is_of(self, parts: Parts) -> bool:
        return any(map(parts.has, _STATES))

    def shape(self, parts: Parts) -> tuple[int, int]:
        match self._state(parts).get("shape"):
            case [int(out), int(columns)] if out > 0 and columns > 0:
                return out, columns
            case found:
                raise parts.refuse(f"has the shape {found!r} in its quant_state")

    def bits(self, parts: Parts) -> int:
        del parts
        return 4

    def group(self, parts: Parts) -> int | None:
        del parts  # the numbers are no integers
        return None

    def values(self, parts: Parts) -> Array:
        state, (out, columns) = self._state(parts), self.shape(parts)
        size = state.get("blocksize")
        if type(size) is not int or size < 1 or out * columns % 2:
            raise parts.refuse(f"has blocks of {size!r} for {out * columns} numbers")
        packed = parts.load("weight", out * columns // 2, 1, kind="U8").reshape(-1)
        codes = np.stack([packed >> 4, packed & 15], axis=-1).reshape(-1)
        table = parts.load_values("weight.quant_map", 16)
        largest = self._largest(parts, state, math.ceil(codes.size / size))
        values: Array = table[codes] * np.repeat(largest, size)[: codes.size]
        return values.reshape(out, columns)

    def _largest(self, parts: Parts, state: dict[str, Any], blocks: int) -> Array:
        if parts.kind("weight.absmax") != "U8":
            return parts.load_values("weight.absmax", blocks)
        size, offset = state.get("nested_blocksize"), state.get("nested_offset")
        if type(size) is not int or size < 1 or not isinstance(offset, float | int):
            raise parts.refuse(f"has nested blocks of {size!r} and the offset {offset!r}")
        codes = parts.load("weight.absmax", blocks)
        table = parts.load_values("weight.nested_quant_map", 256)
        scales = parts.load_values("weight.nested_absmax", math.ceil(blocks / size))
        values: Array = table[codes] * np.repeat(scales, size)[:blocks] + np.float32(offset)
        return values

    def _state(self, parts: Parts) -> dict[str, Any]:
        name = next(filter(parts.has, _STATES))
        content: NDArray[Any] = parts.load(name, *parts.shape(name), kind="U8")
        return parse_json_object(content.tobytes(), name=f"the tensor {parts.prefix}{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsOfEight:
    """Implements `Layout` for LLM.int8()."""

    mark: str = "SCB"
    others: frozenset[str] = frozenset({"weight", "weight_format"})

    def is_of(self, parts: Parts) -> bool:
        return parts.has("weight") and parts.kind("weight") == "I8"

    def shape(self, parts: Parts) -> tuple[int, int]:
        out, columns = parts.shape("weight")
        return out, columns

    def bits(self, parts: Parts) -> int:
        del parts
        return 8

    def group(self, parts: Parts) -> int | None:
        del parts
        return None

    def values(self, parts: Parts) -> Array:
        out, columns = self.shape(parts)
        codes = parts.load("weight", out, columns).astype(np.float32)
        # In the library's order, by which the last bit is the same.
        return codes * parts.load_values("SCB", out)[:, None] * np.float32(1 / 127)
