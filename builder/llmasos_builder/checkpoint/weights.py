"""The weights of a checkpoint, whatever file holds them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Weights(Protocol):
    """Tensors by their Hugging Face names, read one at a time."""

    def names(self) -> frozenset[str]:
        """Every tensor's name."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it. Raises CheckpointError for an unknown name."""
        ...

    def load(self, name: str) -> NDArray[np.float32]:
        """Read one tensor as float32. Raises CheckpointError for an unknown name."""
        ...
