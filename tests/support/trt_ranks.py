"""Networks cut over ranks, interpreted in step, beside the same network in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llmasos.engine.plan import Precision
from llmasos_builder.graph import Array
from llmasos_builder.tensorrt.compile import define_network
from llmasos_builder.tensorrt.interpreter import InterpretedRanks, Row
from llmasos_builder.tensorrt.network import TensorRTGraph
from llmasos_builder.tensorrt.parallel.rank import all_ranks
from parity import Network
from trt_models import Sequence_, defined, engine, options, run_in_flight, sequences, trt

Graphs = list[list[TensorRTGraph]]
SUMMATION_ORDER = 2e-5  # what float32 makes of sums in another order, of the largest logit


def sliced_graphs(
    network: Network, precision: Precision, *, parts: int = 1, stages: int = 1, **changes: Any
) -> Graphs:
    """Of each stage the networks of its parts; changes: of the options."""

    def load(name: str, _shape: tuple[int, ...]) -> Array:
        return network.weights.load(name)

    chosen = options(precision, **changes)
    graphs: Graphs = [[] for _ in range(stages)]
    for rank in all_ranks(parts, stages):
        graph = define_network(network.spec, load, library=trt, options=chosen, rank=rank)
        graphs[rank.stage].append(graph)
    return graphs


def interpreted(graphs: Graphs, *, rounding: bool = False) -> InterpretedRanks:
    return InterpretedRanks(
        [[engine(graph, rounding=rounding) for graph in parts] for parts in graphs]
    )


class Both:
    """Two models that are given the same rows.

    error: how far apart their outputs were, as a part of the largest logit. A candidate counts
    by its logit, since two may be as good as equal.
    """

    def __init__(self, whole: Any, cut: InterpretedRanks) -> None:
        self._models: tuple[Any, Any] = (whole, cut)
        self.error = 0.0

    def step(self, rows: Sequence[Row]) -> dict[str, Any]:
        whole, cut = (model.step(rows) for model in self._models)
        assert {name: x.shape for name, x in whole.items()} == {
            name: x.shape for name, x in cut.items()
        }
        ids = cut.pop("candidate_ids")
        pairs = [(whole[name], values) for name, values in cut.items()]
        pairs += [(whole["candidate_logits"], np.take_along_axis(whole["logits"], ids, axis=1))]
        scale = np.abs(whole["logits"]).max()
        for expected, actual in pairs:
            error = float(np.abs(expected - actual).max() / scale)
            self.error = float(np.maximum(self.error, error))  # which keeps a NaN
        steps: dict[str, Any] = whole
        return steps


def compared(
    network: Network, cut: InterpretedRanks, precision: Precision = "f32", *, rounding: bool = False
) -> Both:
    """Sequences that join, share steps, leave and reuse slots, computed by both."""
    both = Both(engine(defined(network, precision), rounding=rounding), cut)
    run_in_flight(both, _short_sequences(network.spec.vocab_size))  # type: ignore[arg-type]
    return both


def _short_sequences(vocabulary: int) -> list[Sequence_]:
    """Those of the other tests, which come and go a few steps apart."""
    plans = sequences(vocabulary)
    for plan, joins, num_new in zip(plans, (0, 2, 3, 7), (10, 3, 6, 2), strict=True):
        plan.joins, plan.num_new = joins, num_new
    return plans


def check_equal(network: Network, graphs: Graphs, precision: Precision = "f32") -> None:
    """Fails where ranks compute something else than the network in one piece."""
    both = compared(network, interpreted(graphs), precision)
    assert both.error < SUMMATION_ORDER, f"outputs differ by {both.error:.1e}"
