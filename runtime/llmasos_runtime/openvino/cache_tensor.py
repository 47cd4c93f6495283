"""The key or value cache of a layer, as a compiled network takes it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmasos.openvino_import import ov


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTensor:
    """Its input's name, element type, and shape but for the blocks."""

    name: str
    type: ov.Type
    block_shape: tuple[int, ...]

    @property
    def block_bytes(self) -> int:
        return math.prod(self.block_shape) * int(self.type.get_size())
