"""How far a network's predictions are from another's over the same windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmasos_builder.compression.streaming import StreamingGraph
from llmasos_builder.graph import Array


def divergence(reference: StreamingGraph, found: StreamingGraph) -> float:
    """Returns the mean KL(reference || found) of a token in nats, over windows that both ran on."""
    total = 0.0
    num_windows, length = reference.hidden.shape[:2]
    for window in range(num_windows):
        expected, other = (_log_shares(graph.logits_of(window)) for graph in (reference, found))
        total += float((np.exp(expected) * (expected - other)).sum())
    return total / (num_windows * length)


def _log_shares(logits: Array) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    shares: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shares
