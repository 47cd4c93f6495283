"""What predictions are worth: log-likelihood, agreement and divergence, summed in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ROWS = 4
"""Of logits, that are turned into float64 together."""


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """The logarithm of each row's probabilities, in float64."""
    rows = logits.astype(np.float64)
    rows -= rows.max(axis=-1, keepdims=True)
    rows -= np.log(np.exp(rows).sum(axis=-1, keepdims=True))
    return rows


def target_scores(
    logits: NDArray[np.float32], targets: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """For each row its target's log-probability, and whether the target is the likeliest.

    Of equal logits the first is the likeliest, as when greedy decoding picks it.
    """
    ids = np.asarray(targets)
    scores = [
        log_softmax(logits[at : at + _ROWS])[np.arange(len(ids[at : at + _ROWS])), part]
        for at in range(0, len(ids), _ROWS)
        for part in [ids[at : at + _ROWS]]
    ]
    return np.concatenate(scores), logits.argmax(axis=-1) == ids


def divergence(reference: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, int]:
    """The sum over the rows of KL(reference || other) in nats, and in how many both have the
    same likeliest token.
    """
    total = 0.0
    for at in range(0, len(reference), _ROWS):
        p = log_softmax(reference[at : at + _ROWS])
        q = log_softmax(other[at : at + _ROWS])
        total += float((np.exp(p) * (p - q)).sum())
    return total, int((reference.argmax(axis=-1) == other.argmax(axis=-1)).sum())
