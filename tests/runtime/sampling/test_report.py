"""Log probabilities are those of the whole softmax, from all logits or from candidates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from llmasos.sampling import SamplingParams
from llmasos_runtime.sampling.report import report, token_logprob
from llmasos_runtime.sampling.sampler import Draw, takes_the_likeliest
from llmasos_runtime.tensorrt.candidate_scores import Candidates, CandidateScores
from numpy.typing import NDArray

VOCABULARY = 5000


def made_rows(count: int = 4) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(scale=4, size=(count, VOCABULARY)).astype(np.float32)


def draw(**fields: Any) -> Draw:
    return Draw(params=SamplingParams(**fields), seed=1, output_index=0)


def log_softmax(row: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = row.astype(np.float64) - float(row.max())
    return np.asarray(exact - np.log(np.exp(exact).sum()), np.float64)


def test_a_token_and_the_likeliest_have_their_log_softmax() -> None:
    for row in made_rows():
        exact = log_softmax(row)
        found = token_logprob(row, 17, count=5)
        assert found.token_id == 17
        assert found.logprob == pytest.approx(exact[17], abs=1e-5)
        assert [token for token, _ in found.top_logprobs] == np.argsort(-exact)[:5].tolist()
        for token, logprob in found.top_logprobs:
            assert logprob == pytest.approx(exact[token], abs=1e-5)


@pytest.mark.parametrize("shift", [-5e4, -61.0, -59.0, 0.0, 59.0, 61.0, 5e4])
def test_logits_of_any_size_have_it(shift: float) -> None:
    row = made_rows(1)[0] + np.float32(shift)
    assert token_logprob(row, 17, count=0).logprob == pytest.approx(
        log_softmax(row)[17], abs=1e-4 + abs(shift) * 1e-6
    )


def test_of_equally_likely_tokens_the_lowest_ids_come_first() -> None:
    found = token_logprob(np.zeros(VOCABULARY, np.float32), 9, count=3)
    assert [token for token, _ in found.top_logprobs] == [0, 1, 2]
    assert found.logprob == pytest.approx(-math.log(VOCABULARY), abs=1e-5)


def test_an_impossible_token_has_a_number_that_json_can_hold() -> None:
    row = np.full(VOCABULARY, -np.inf, np.float32)
    row[3] = 1.0
    found = token_logprob(row, 4, count=2)
    assert found.logprob == -9999.0
    assert [token for token, _ in found.top_logprobs] == [3, 0]
    assert [p for _, p in found.top_logprobs] == pytest.approx([0.0, -9999.0], abs=1e-6)


def test_only_draws_that_ask_are_reported_and_take_the_logits() -> None:
    rows, draws = made_rows(3), [draw(), draw(logprobs=0), draw(logprobs=2, temperature=1.0)]
    found = report(rows, draws, [5, 6, None])
    assert found[0] is None
    assert found[1] is not None
    assert found[1].logprob is not None
    assert found[1].logprob.top_logprobs == ()
    assert found[2] is None, "no token came"
    assert takes_the_likeliest(draws[0])
    assert not takes_the_likeliest(draws[1])


@pytest.mark.parametrize("has_full", [False, True])
def test_candidates_report_what_all_logits_do(has_full: bool) -> None:
    rows = made_rows()
    ids = np.argsort(-rows, axis=1)[:, :8]
    totals = [[float(row.max()) - log_softmax(row).max()] for row in rows]
    candidates = Candidates(
        np.take_along_axis(rows, ids, axis=1), ids.astype(np.int32), np.array(totals, np.float32)
    )
    full = (lambda wanted: rows[wanted]) if has_full else None
    scores = CandidateScores(candidates, VOCABULARY, full)
    tokens = [int(ids[0, 0]), int(ids[1, 7]), 1234 if has_full else int(ids[2, 1]), int(ids[3, 2])]
    draws = [draw(logprobs=k) for k in (0, 3, 8, 20 if has_full else 8)]
    for ours, all_logits in zip(
        scores.report(draws, tokens), report(rows, draws, tokens), strict=True
    ):
        assert ours is not None
        assert all_logits is not None
        assert ours.logprob is not None
        assert all_logits.logprob is not None
        assert ours.logprob.logprob == pytest.approx(all_logits.logprob.logprob, abs=1e-5)
        mine, theirs = ours.logprob.top_logprobs, all_logits.logprob.top_logprobs
        assert [token for token, _ in mine] == [token for token, _ in theirs]
        assert [p for _, p in mine] == pytest.approx([p for _, p in theirs], abs=1e-5)


def test_logits_are_reported_as_a_copy_that_later_steps_leave_alone() -> None:
    rows = made_rows(2)
    asks = Draw(params=SamplingParams(), seed=1, output_index=0, wants_logits=True)
    found = report(rows, [asks, draw()], [1, 2])
    expected = rows[0].copy()
    rows[:] = 0
    assert found[0] is not None
    assert found[0].logprob is None
    assert found[0].logits is not None
    np.testing.assert_array_equal(found[0].logits, expected)
    assert found[1] is None
