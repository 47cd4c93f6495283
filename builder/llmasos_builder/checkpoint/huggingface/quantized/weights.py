"""Weights of which some matrices are stored in a layout of quantized numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from llmasos.errors import CheckpointError
from numpy.typing import NDArray

from llmasos_builder.checkpoint.huggingface.quantized.layout import Layout, Parts, StoredTensors
from llmasos_builder.checkpoint.weights import Weights

INT4_GROUPS = (32, 64, 128)
_KV_CACHE_SCALE = re.compile(r".*\.(?:[kv]|kv|q|prob|output)_(?:scale|zero_point)")


class QuantizedWeights:
    """Implements `Weights`: each quantized matrix is `<module>.weight`, with its values.

    Tensors that belong to no matrix stay what they are, but for scales of KV caches, which are
    left out: keys and values are kept in a type of the engine's own.
    """

    def __init__(self, stored: StoredTensors, layouts: Sequence[Layout]) -> None:
        """Raises CheckpointError if no matrix is stored in any of the layouts."""
        self._stored = stored
        self._matrices: dict[str, tuple[Layout, Parts]] = {}
        used: set[str] = set()
        for name in sorted(stored.names()):
            for layout in layouts:
                parts = Parts(stored, name.removesuffix(layout.mark))
                if name.endswith(f".{layout.mark}") and layout.is_of(parts):
                    self._matrices[f"{parts.prefix}weight"] = (layout, parts)
                    used |= {parts.prefix + part for part in (layout.mark, *layout.others)}
        if not self._matrices:
            wanted = ", ".join(sorted({layout.mark for layout in layouts}))
            raise CheckpointError(
                f"config.json says that matrices are quantized, and no tensor ends with {wanted}"
            )
        plain = {n for n in stored.names() - used if _KV_CACHE_SCALE.fullmatch(n) is None}
        self._names = frozenset(plain | self._matrices.keys())

    def names(self) -> frozenset[str]:
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        if name in self._matrices:
            layout, parts = self._matrices[name]
            return layout.shape(parts)
        return self._stored.shape(self._own(name))

    def load(self, name: str) -> NDArray[np.float32]:
        if name in self._matrices:
            layout, parts = self._matrices[name]
            return layout.values(parts)
        return self._stored.load(self._own(name))

    def bits(self) -> Mapping[str, int]:
        """Bits of a stored number of each quantized matrix, by its name."""
        return {name: layout.bits(parts) for name, (layout, parts) in self._matrices.items()}

    def int4_group(self) -> int | None:
        """The smallest group of 4-bit integers; None if there are none, or they are scattered."""
        groups = [
            layout.group(parts)
            for layout, parts in self._matrices.values()
            if layout.bits(parts) == 4
        ]
        return min((size for size in groups if size is not None), default=None)

    def _own(self, name: str) -> str:
        if name not in self._names:
            raise CheckpointError(f"the checkpoint has no tensor {name}")
        return name


def stored_bits_of(weights: Weights) -> Mapping[str, int]:
    """Returns the bits of a stored number of each matrix that is quantized, by its name."""
    return weights.bits() if isinstance(weights, QuantizedWeights) else {}


def int4_group_of(weights: Weights) -> int | None:
    """Returns the neighbours that share a scale in a checkpoint of 4-bit integers; None elsewhere,
    and where engines have no such groups.
    """
    group = weights.int4_group() if isinstance(weights, QuantizedWeights) else None
    return group if group in INT4_GROUPS else None
