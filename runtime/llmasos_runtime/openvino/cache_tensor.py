"""The key or value cache of a layer as an input of a compiled network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llmasos.openvino_import import ov
from numpy.typing import NDArray

from llmasos_runtime.sequences.step import SlotCopy


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTensor:
    """The input's name and element type, and the shape of one block."""

    name: str
    type: ov.Type
    block_shape: tuple[int, ...]

    @property
    def block_bytes(self) -> int:
        return math.prod(self.block_shape) * int(self.type.get_size())


_NUMPY: Mapping[Any, np.dtype[Any]] = {
    ov.Type.f32: np.dtype(np.float32),
    ov.Type.bf16: np.dtype(np.uint16),
}
"""The numpy types that carry these OpenVINO types; numpy has no bf16."""


def bind_arrays(
    request: ov.InferRequest, caches: Iterable[CacheTensor], *, num_blocks: int
) -> dict[str, NDArray[Any]]:
    """Gives a request arrays of blocks as its caches, and returns them by name.

    They are zeros, since a masked token's value is multiplied by 0, which leaves no number NaN.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for cache in caches:
        blocks = np.zeros((num_blocks, *cache.block_shape), _NUMPY[cache.type])
        arrays[cache.name] = blocks
        request.set_tensor(cache.name, ov.Tensor(blocks, ov.Shape(blocks.shape), cache.type))
    return arrays


def copy_beginnings(arrays: Iterable[NDArray[Any]], copies: Sequence[SlotCopy]) -> None:
    """Copies the first tokens of blocks [blocks, H, tokens, D] to others, in this order."""
    for blocks in arrays:
        for source, target, count, _ in copies:
            blocks[target, :, :count] = blocks[source, :, :count]
