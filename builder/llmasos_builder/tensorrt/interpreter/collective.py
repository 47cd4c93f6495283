"""Runs the networks of several ranks in step: each waits for the others at a collective.

On GPUs each rank is a process, and a collective that not all of them reach, or that they reach
with different tensors, hangs. Here that is an error.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from llmasos_builder.tensorrt.interpreter.layer import Layer
from llmasos_builder.tensorrt.interpreter.numbers import Array

COLLECTIVE = "DIST_COLLECTIVE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The input of one rank to a collective."""

    layer: Layer
    given: Array


Outputs = dict[str, Array]
Running = Generator[Exchange, Array, Outputs]
"""A running network: it yields the inputs of collectives and receives their results."""


def run_together(ranks: Sequence[Running]) -> list[Outputs]:
    """Returns the outputs of each rank.

    Raises InterpretationError if ranks would wait for each other for ever.
    """
    with np.errstate(all="ignore"):  # infinities and NaN are results like others
        reached = [_advance(rank) for rank in ranks]
        while True:
            exchanges = [stop for stop in reached if isinstance(stop, Exchange)]
            if not exchanges:
                return [stop for stop in reached if not isinstance(stop, Exchange)]
            result = _combined(exchanges, num_ranks=len(ranks))
            reached = [_advance(rank, result) for rank in ranks]


def _advance(rank: Running, result: Array | None = None) -> Exchange | Outputs:
    """Runs to the next collective, or to the end."""
    try:
        return next(rank) if result is None else rank.send(result)
    except StopIteration as end:
        outputs: Outputs = end.value
        return outputs


def _combined(exchanges: Sequence[Exchange], *, num_ranks: int) -> Array:
    layer = exchanges[0].layer
    wanted = layer.settings.num_ranks
    if wanted != num_ranks:
        raise layer.error(f"is for {wanted} ranks, there are {num_ranks}")
    if len(exchanges) != num_ranks:
        raise layer.error(f"{num_ranks - len(exchanges)} of {num_ranks} ranks do not reach it")
    forms = {(_operation(e.layer), e.layer.outputs[0].dtype, e.given.shape) for e in exchanges}
    if len(forms) > 1:
        raise layer.error(f"ranks disagree about it: {sorted(map(str, forms))}")
    given = [exchange.given for exchange in exchanges]
    match _operation(layer):
        case "ALL_REDUCE":
            total: Array = np.sum(given, axis=0, dtype=given[0].dtype)
            return total
        case "ALL_GATHER":
            return np.concatenate(given, axis=0)
        case unknown:
            raise layer.error(f"the operation {unknown!r} cannot be interpreted")


def _operation(layer: Layer) -> str:
    """Returns the operation from the metadata: TensorRT's Python interface does not expose it."""
    operation: str = layer.settings.metadata
    return operation
