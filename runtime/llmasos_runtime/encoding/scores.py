"""Scores out of logits."""

from __future__ import annotations

import numpy as np
from llmasos.engine.encoder_record import Scores

from llmasos_runtime.encoding.request import Rows


def softmax(logits: Rows) -> Rows:
    """Scores of each row that add up to 1."""
    shares: Rows = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return shares


def to_scores(logits: Rows, kind: Scores) -> Rows:
    """Scores as a plan says: those of a softmax, or each by itself."""
    if kind == "softmax":
        return softmax(logits)
    if kind == "sigmoid":
        sigmoid: Rows = 0.5 + 0.5 * np.tanh(0.5 * logits)
        return sigmoid
    return logits
