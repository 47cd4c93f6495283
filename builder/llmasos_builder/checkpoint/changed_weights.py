"""A checkpoint's weights of which some are changed when they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from llmasos_builder.checkpoint.weights import Weights

Change = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class ChangedWeights:
    """Implements `Weights`. changes: of tensors' values, by their names; shapes stay."""

    def __init__(self, weights: Weights, changes: Mapping[str, Change]) -> None:
        self._weights = weights
        self._changes = changes

    def names(self) -> frozenset[str]:
        return self._weights.names()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._weights.shape(name)

    def load(self, name: str) -> NDArray[np.float32]:
        values = self._weights.load(name)
        change = self._changes.get(name)
        return values if change is None else change(values)
