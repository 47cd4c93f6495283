"""The key or value cache of a layer as an input of a compiled network."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmasos.openvino_import import ov


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTensor:
    """The input's name and element type, and the shape of one block."""

    name: str
    type: ov.Type
    block_shape: tuple[int, ...]

    @property
    def block_bytes(self) -> int:
        return math.prod(self.block_shape) * int(self.type.get_size())
