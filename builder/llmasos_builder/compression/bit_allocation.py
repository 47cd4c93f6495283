"""Which matrices get 8 bits instead of 4, for a number of bits that a weight may take on average.

All matrices of a kind, as `down_proj`, are rounded to 4 bits while the others stay exact, and the
network's divergence from its own predictions is measured: what that kind costs. It is shared out
among the layers by the relative error of the products there. Then the matrices that cost most for
each bit that they would take get 8 bits, as long as the budget lasts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from llmasos.errors import InvalidRequestError
from llmasos.progress import Progress
from numpy.typing import NDArray

from llmasos_builder.architectures.network import Network
from llmasos_builder.checkpoint import Weights
from llmasos_builder.compression.divergence import divergence
from llmasos_builder.compression.integer_codes import IntegerFormat
from llmasos_builder.compression.scale_search import searched_grid
from llmasos_builder.compression.streaming import Observer, stream
from llmasos_builder.graph import Array

_SCALE_BITS = 16
Costs = Mapping[str, float]


def measured_costs(
    network: Network,
    weights: Weights,
    windows: NDArray[np.int64],
    names: Sequence[str],
    stored: IntegerFormat,
    *,
    progress: Progress,
) -> Costs:
    """Returns for each matrix the nats a token that 4 bits cost, by rounding on the best scales.

    windows: a few, of token ids [N, S]. Raises CheckpointError for activations that are not finite.
    """
    kinds = list(dict.fromkeys(map(kind_of, names)))
    errors: dict[str, float] = {}
    reference = stream(network, weights, windows, _noting_errors(set(names), stored, errors))
    costs: dict[str, float] = {}
    for index, kind in enumerate(kinds):
        progress("measure sensitivity", index, len(kinds))
        alike = [name for name in names if kind_of(name) == kind]
        rounded = stream(network, weights, windows, _rounding(set(alike), stored))
        cost = max(divergence(reference, rounded), 0.0)
        whole = sum(errors[name] for name in alike) or 1.0
        costs |= {name: cost * errors[name] / whole for name in alike}
    progress("measure sensitivity", len(kinds), len(kinds))
    return costs


def matrices_in_8_bits(
    costs: Costs,
    shapes: Mapping[str, tuple[int, ...]],
    units: Mapping[str, str],
    stored: IntegerFormat,
    budget: float,
) -> frozenset[str]:
    """Returns the matrices to keep in 8 bits.

    units: what a matrix belongs to; a unit has one format. budget: bits of a weight on average,
    scales included. Raises InvalidRequestError for a budget that 4 bits alone exceed.
    """
    count = sum(math.prod(shapes[name]) for name in costs)
    in_4 = {name: _bits(shapes[name], stored) for name in costs}
    in_8 = {name: _bits(shapes[name], IntegerFormat(bits=8, group_size=None)) for name in costs}
    left = budget * count - sum(in_4.values())
    if left < 0:
        least = sum(in_4.values()) / count
        raise InvalidRequestError(
            f"bits-budget is {budget:g}, and 4 bits with their scales take {least:.3g} already"
        )
    members: dict[str, list[str]] = {}
    for name in costs:
        members.setdefault(units[name], []).append(name)
    more = {unit: sum(in_8[n] - in_4[n] for n in names) for unit, names in members.items()}
    worth = {unit: sum(costs[n] for n in names) / more[unit] for unit, names in members.items()}
    chosen: set[str] = set()
    for unit in sorted(members, key=lambda unit: (-worth[unit], unit)):
        if more[unit] <= left:
            chosen.update(members[unit])
            left -= more[unit]
    return frozenset(chosen)


def kind_of(name: str) -> str:
    """Returns what a matrix is called in every layer, such as `mlp.down_proj.weight`."""
    return ".".join(part for part in name.split(".") if not part.isdigit())


def _bits(shape: tuple[int, ...], stored: IntegerFormat) -> int:
    rows, columns = shape
    groups = columns // (stored.group_size or columns)
    each = _SCALE_BITS + (0 if stored.symmetric else stored.bits)
    return rows * (columns * stored.bits + groups * each)


def _rounded(weight: Array, stored: IntegerFormat) -> Array:
    grid = searched_grid(weight, stored, stored.group_size or weight.shape[1])
    return grid.with_codes(grid.nearest(weight), np.float16).values()


def _noting_errors(names: set[str], stored: IntegerFormat, errors: dict[str, float]) -> Observer:
    def observe(name: str, inputs: Array, weight: Array) -> Array:
        if name in names:
            products = inputs @ weight.T
            error = inputs @ (_rounded(weight, stored) - weight).T
            sizes = np.square(products).sum(axis=1) + np.float32(1e-30)
            errors[name] = float(np.mean(np.square(error).sum(axis=1) / sizes))
        return weight

    return observe


def _rounding(names: set[str], stored: IntegerFormat) -> Observer:
    def observe(name: str, inputs: Array, weight: Array) -> Array:
        del inputs
        return _rounded(weight, stored) if name in names else weight

    return observe
