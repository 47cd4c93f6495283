"""Measures of predictions: log-likelihood, agreement and divergence, summed in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ROWS = 4
"""Rows of logits that are converted to float64 together."""


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the log-probabilities of each row in float64."""
    rows = logits.astype(np.float64)
    rows -= rows.max(axis=-1, keepdims=True)
    rows -= np.log(np.exp(rows).sum(axis=-1, keepdims=True))
    return rows


def target_scores(
    logits: NDArray[np.float32], targets: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Returns each row's log-probability of its target, and whether the target is the likeliest.

    Of equal logits the first counts as the likeliest, as in greedy decoding.
    """
    ids = np.asarray(targets)
    scores = [
        log_softmax(logits[at : at + _ROWS])[np.arange(len(ids[at : at + _ROWS])), part]
        for at in range(0, len(ids), _ROWS)
        for part in [ids[at : at + _ROWS]]
    ]
    return np.concatenate(scores), logits.argmax(axis=-1) == ids


def divergence(reference: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, int]:
    """Returns the sum over rows of KL(reference || other) in nats, and the number of rows in which
    both have the same likeliest token.
    """
    total = 0.0
    for at in range(0, len(reference), _ROWS):
        p = log_softmax(reference[at : at + _ROWS])
        q = log_softmax(other[at : at + _ROWS])
        total += float((np.exp(p) * (p - q)).sum())
    return total, int((reference.argmax(axis=-1) == other.argmax(axis=-1)).sum())
