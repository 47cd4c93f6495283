"""Ways to get a network wrong: a weight that is changed, or another spec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from llmasos_builder.checkpoint import ChangedWeights
from llmasos_builder.graph import Array
from parity import Model, Network, ReferenceModel


def with_weight(name: str, change: Callable[[Array], Array], network: Network) -> Model:
    assert name in network.weights.names()
    return ReferenceModel(network.spec, ChangedWeights(network.weights, {name: change}))


def with_spec(network: Network, /, **changes: object) -> Model:
    return ReferenceModel(replace(network.spec, **changes), network.weights)  # type: ignore[arg-type]


def with_names(network: Network, /, **changes: object) -> Model:
    return with_spec(network, names=replace(network.spec.names, **changes))  # type: ignore[arg-type]


def rolled(rows: int) -> Callable[[Array], Array]:
    """Every row of a weight, so many places further."""
    return lambda values: values.take(range(-rows, len(values) - rows), axis=0, mode="wrap")
