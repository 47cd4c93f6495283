"""The sums of an evaluation, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from llmasos_runtime.evaluation.measures import divergence, log_softmax, target_scores

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 5, (150, 33)).astype(np.float32)
TARGETS = RNG.integers(0, 33, 150).tolist()


def test_log_softmax_is_exact_where_float32_would_not_be() -> None:
    row = np.array([[1000.0, 980.0, -1000.0]], np.float32)
    total = math.log1p(math.exp(-20))
    expected = [-total, -20 - total, -2000 - total]
    assert log_softmax(row)[0] == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert np.exp(log_softmax(LOGITS)).sum(axis=1) == pytest.approx(np.ones(150), abs=1e-13)


def test_each_row_is_scored_by_its_own_target() -> None:
    scores, likeliest = target_scores(LOGITS, TARGETS)
    for row, target, score, best in zip(LOGITS, TARGETS, scores, likeliest, strict=True):
        exact = [float(x) for x in row]
        total = math.log(math.fsum(math.exp(x) for x in exact))
        assert score == pytest.approx(exact[target] - total, abs=1e-12)
        assert best == (exact.index(max(exact)) == target)


def test_divergence_is_kl_of_the_reference_from_the_other() -> None:
    other = LOGITS + RNG.normal(0, 1, LOGITS.shape).astype(np.float32)
    p, q = (np.exp(log_softmax(x)) for x in (LOGITS, other))
    total, agreed = divergence(LOGITS, other)
    assert total == pytest.approx(float((p * np.log(p / q)).sum()), rel=1e-9)
    assert agreed == int((p.argmax(1) == q.argmax(1)).sum()) < 150
    assert divergence(LOGITS, LOGITS) == (0.0, 150)
    assert total != pytest.approx(divergence(other, LOGITS)[0], rel=1e-3)
