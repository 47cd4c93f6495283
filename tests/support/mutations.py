"""Ways to get a network wrong: a weight that is changed, or another spec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from llmasos_builder.checkpoint import Weights
from llmasos_builder.graph import Array
from parity import Model, Network, ReferenceModel


class ChangedWeights:
    """Weights of which one is changed."""

    def __init__(self, weights: Weights, name: str, change: Callable[[Array], Array]) -> None:
        assert name in weights.names()
        self._weights = weights
        self._name = name
        self._change = change

    def names(self) -> frozenset[str]:
        return self._weights.names()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._weights.shape(name)

    def load(self, name: str) -> Array:
        values = self._weights.load(name)
        return self._change(values) if name == self._name else values


def with_weight(name: str, change: Callable[[Array], Array], network: Network) -> Model:
    return ReferenceModel(network.spec, ChangedWeights(network.weights, name, change))


def with_spec(network: Network, /, **changes: object) -> Model:
    return ReferenceModel(replace(network.spec, **changes), network.weights)  # type: ignore[arg-type]


def with_names(network: Network, /, **changes: object) -> Model:
    return with_spec(network, names=replace(network.spec.names, **changes))  # type: ignore[arg-type]


def rolled(rows: int) -> Callable[[Array], Array]:
    """Every row of a weight, so many places further."""
    return lambda values: values.take(range(-rows, len(values) - rows), axis=0, mode="wrap")
