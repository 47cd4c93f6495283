"""A checkpoint's weights with some tensors scaled when they are read."""

from __future__ import annotations

from collections.abc import Mapping

from llmasos_builder.checkpoint import Weights
from llmasos_builder.graph import Array


class ScaledWeights:
    """Implements `Weights`. rows, columns: factors along the first and the last axis, by tensor."""

    def __init__(
        self, weights: Weights, *, rows: Mapping[str, Array], columns: Mapping[str, Array]
    ) -> None:
        self._weights = weights
        self._rows = rows
        self._columns = columns

    def names(self) -> frozenset[str]:
        return self._weights.names()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._weights.shape(name)

    def load(self, name: str) -> Array:
        values = self._weights.load(name)
        if name in self._columns:
            values = values * self._columns[name]
        if name in self._rows:
            factors = self._rows[name]
            values = values * factors.reshape(-1, *[1] * (values.ndim - 1))
        return values
