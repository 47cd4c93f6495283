"""Beams over a made-up network of four tokens: with room for all of them, the best is found."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from llmasos_runtime.engine.beam_hypotheses import Beam, BeamHypotheses
from numpy.typing import NDArray

END, LENGTH, VOCABULARY = 3, 4, 4


def log_probs(token_ids: tuple[int, ...]) -> NDArray[np.float32]:
    """Of each token behind these, drawn by what they are."""
    seed = sum((token + 1) * 5**place for place, token in enumerate(token_ids))
    logits = np.random.default_rng(seed).normal(0.0, 2.0, VOCABULARY)
    return np.asarray(logits - np.log(np.exp(logits).sum()), np.float32)


def is_end(beam: Beam) -> bool:
    return beam.token_ids[-1] == END or len(beam.token_ids) == LENGTH


def searched(width: int, *, length_penalty: float, early_stopping: bool = False) -> list[Beam]:
    beams = BeamHypotheses(
        width=width,
        num_end_tokens=1,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
    )
    while not beams.is_done:
        rows = [log_probs(beam.token_ids) for beam in beams.running]
        beams.advance(np.stack(rows), is_end)
    return beams.ended


def all_answers(*, length_penalty: float) -> dict[tuple[int, ...], float]:
    """Every answer and its score."""
    whole = (
        ids
        for length in range(1, LENGTH + 1)
        for ids in product(range(VOCABULARY), repeat=length)
        if END not in ids[:-1] and (ids[-1] == END or length == LENGTH)
    )
    return {
        ids: sum(float(log_probs(ids[:i])[token]) for i, token in enumerate(ids))
        / len(ids) ** length_penalty
        for ids in whole
    }


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, -0.5])
def test_with_room_for_every_answer_they_come_in_the_order_of_their_scores(
    length_penalty: float,
) -> None:
    scores = all_answers(length_penalty=length_penalty)
    found = searched(len(scores), length_penalty=length_penalty)
    assert [beam.token_ids for beam in found] == sorted(scores, key=lambda ids: -scores[ids])
    assert [beam.score for beam in found] == pytest.approx(sorted(scores.values(), reverse=True))


def test_an_early_stop_keeps_the_first_answers_that_ended() -> None:
    late = searched(3, length_penalty=0.0)
    early = searched(3, length_penalty=0.0, early_stopping=True)
    assert len(early) == len(late) == 3
    assert min(late, key=lambda beam: beam.score).score >= early[-1].score


def test_a_token_that_must_not_come_is_in_no_answer() -> None:
    beams = BeamHypotheses(width=4, num_end_tokens=1, length_penalty=1.0, early_stopping=False)
    while not beams.is_done:
        rows = np.stack([log_probs(beam.token_ids) for beam in beams.running])
        rows[:, [0, 2]] = -np.inf
        beams.advance(rows, is_end)
    assert {token for beam in beams.ended for token in beam.token_ids} == {1, END}
    assert len(beams.ended) == 4


def test_where_nothing_can_follow_the_search_ends_without_an_answer() -> None:
    beams = BeamHypotheses(width=2, num_end_tokens=1, length_penalty=1.0, early_stopping=False)
    beams.advance(np.full((1, VOCABULARY), -np.inf, np.float32), is_end)
    assert beams.is_done
    assert beams.ended == []
