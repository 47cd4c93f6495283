"""Sampling from candidates gives the token that all logits give, wherever it can."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmasos.sampling import SamplingParams
from llmasos_runtime.sampling.logit_changes import LogitChanges
from llmasos_runtime.sampling.sampler import Draw, sample
from llmasos_runtime.tensorrt.candidate_scores import Candidates, CandidateScores
from llmasos_runtime.tensorrt.vocabulary_tail_bounds import VocabularyTailBounds
from numpy.typing import NDArray

VOCAB_SIZE = 300
Floats = NDArray[np.float32]


def logits_of(seed: int, *, rows: int = 1, spread: float = 4.0) -> Floats:
    return np.random.default_rng(seed).normal(0, spread, (rows, VOCAB_SIZE)).astype(np.float32)


def candidates_of(logits: Floats, count: int) -> Candidates:
    backwards = np.argsort(-logits[:, ::-1], axis=1, kind="stable")[:, :count]
    ids = logits.shape[1] - 1 - backwards  # of equals the last, as TensorRT may choose
    peak = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - peak).sum(axis=1, keepdims=True)) + peak
    return Candidates(
        np.take_along_axis(logits, ids, axis=1), ids.astype(np.int32), total.astype(np.float32)
    )


def scores(logits: Floats, count: int, *, full: bool = False) -> CandidateScores:
    fetch = (lambda rows: logits[rows]) if full else None
    return CandidateScores(candidates_of(logits, count), logits.shape[1], fetch)


def draw(seed: int = 1, forbidden: tuple[int, ...] = (), **params: Any) -> Draw:
    fields = {"temperature": 1.0, **params}
    return Draw(params=SamplingParams(**fields), seed=seed, output_index=0, forbidden=forbidden)


PARAMS = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 0.2, 0.7, 1.0, 1.5, 4.0]),
        "top_k": st.sampled_from([0, 1, 5, 16, 32, 200, VOCAB_SIZE]),
        "top_p": st.sampled_from([0.05, 0.5, 0.9, 0.99, 1.0]),
        "min_p": st.sampled_from([0.0, 0.01, 0.3]),
    }
)


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.0, 1.6, 3.0])
@pytest.mark.parametrize("step", [0.0, 0.25])
def test_a_nucleus_is_certain_where_nothing_in_the_bounds_moves_it(
    temperature: float, step: float
) -> None:
    """step: what logits are rounded to, so that some are equal."""
    num_certain = 0
    for seed in range(100):
        logits = logits_of(seed, spread=1.5)
        if step:
            logits = np.round(logits / np.float32(step)) * np.float32(step)
        for top_p in (0.6, 0.8, 0.95):
            one = draw(seed, temperature=temperature, top_p=top_p)
            (token,), (is_certain,) = scores(logits, 48).choose([one])
            if is_certain:
                num_certain += 1
                assert token == sample(logits, [one])[0]
    assert num_certain or temperature > 1


@settings(max_examples=400, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    spread=st.sampled_from([0.5, 2.0, 6.0]),
    count=st.sampled_from([1, 8, 32, VOCAB_SIZE]),
    params=PARAMS,
    num_forbidden=st.sampled_from([0, 1, 3]),
)
def test_what_is_certain_is_what_all_logits_give(
    seed: int, spread: float, count: int, params: dict[str, Any], num_forbidden: int
) -> None:
    logits = logits_of(seed, spread=spread)
    likely = np.argsort(-logits[0])[: 2 * num_forbidden : 2]
    one = draw(seed, forbidden=tuple(likely.tolist()), **params)
    given_scores = scores(logits, count)
    (token,), (is_certain,) = given_scores.choose([one])
    if is_certain:
        assert token == sample(logits, [one])[0]
    assert scores(logits, count, full=True).sample([one]) == sample(logits, [one])


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.0},
        {"top_k": 20},
        {"top_k": 32, "top_p": 0.9},
        {"top_p": 0.9},
        {"top_p": 0.9, "temperature": 0.7},
        {"min_p": 0.05},
        {"min_p": 0.05, "temperature": 1.5},
    ],
)
def test_usual_choices_are_certain_without_full_logits(params: dict[str, Any]) -> None:
    logits = logits_of(3, rows=200, spread=5.0)
    given_scores = scores(logits, 32)
    draws = [draw(seed, **params) for seed in range(200)]
    found, certain = given_scores.choose(draws)
    assert np.mean(certain) > 0.9
    expected = sample(logits, draws)
    assert given_scores.sample(draws) == found
    assert all(a == b for a, b, sure in zip(found, expected, certain, strict=True) if sure)


def test_a_penalty_is_applied_to_all_logits_or_to_candidates_that_are_all() -> None:
    logits = logits_of(7, rows=3, spread=0.5)
    params = SamplingParams(repetition_penalty=4.0, presence_penalty=1.0)
    changes = LogitChanges(params, [*logits.argmax(axis=1).tolist()], num_prompt_tokens=1)
    draws = [Draw(params=params, seed=0, output_index=2, changes=changes)] * 3
    expected = sample(logits, draws)
    assert expected != logits.argmax(axis=1).tolist()
    assert scores(logits, 8, full=True).sample(draws) == expected
    assert scores(logits, VOCAB_SIZE).sample(draws) == expected


def test_the_mass_of_top_p_is_over_the_whole_vocabulary() -> None:
    """Two tokens hold half of the mass: less than that keeps both, and more some of the rest."""
    logits = np.zeros((1, 102), np.float32)
    logits[0, 40], logits[0, 70] = np.log(50) + 0.2, np.log(50)
    for top_p in (0.3, 0.45):
        for seed in range(20):
            one = draw(seed, top_p=top_p)
            assert scores(logits, 3).sample([one]) == sample(logits, [one])
    assert scores(logits, 3).choose([draw(top_p=0.3)])[1] == [True]
    assert scores(logits, 3).choose([draw(top_p=0.9)])[1] == [False]


def test_only_uncertain_rows_fetch_their_logits() -> None:
    logits = logits_of(5, rows=4, spread=1.0)
    fetched: list[list[int]] = []

    def fetch(rows: list[int]) -> Floats:
        fetched.append(rows)
        return logits[rows]

    given_scores = CandidateScores(candidates_of(logits, 16), VOCAB_SIZE, fetch)
    draws = [draw(temperature=0.0), draw(), draw(top_k=4), draw(top_k=100)]
    assert given_scores.sample(draws) == sample(logits, draws)
    assert fetched == [[1, 3]]


def test_without_full_logits_the_candidates_are_renormalised() -> None:
    logits = logits_of(6, rows=1, spread=1.0)
    kept = candidates_of(logits, 8)
    found = [scores(logits, 8).sample([draw(seed)])[0] for seed in range(400)]
    assert set(found) == set(kept.ids[0].tolist())
    weights = np.exp(kept.logits[0] - kept.logits[0, 0])
    share = found.count(int(kept.ids[0, 0])) / 400
    assert share == pytest.approx(float(weights[0] / weights.sum()), abs=0.08)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_token_is_chosen_from_what_is_not_finite(temperature: float) -> None:
    logits = logits_of(7, rows=2)
    broken = candidates_of(logits, 8)
    broken.log_sum_exp[1] = np.nan
    found = CandidateScores(broken, VOCAB_SIZE).sample([draw(temperature=temperature)] * 2)
    assert found[0] is not None and found[1] is None


def test_when_every_candidate_is_forbidden_one_of_them_is_all_there_is() -> None:
    logits = logits_of(8)
    ids = candidates_of(logits, 2).ids[0].tolist()
    one = draw(temperature=0.0, forbidden=tuple(ids))
    assert scores(logits, 2).sample([one]) == [ids[0]]
    assert scores(logits, 2, full=True).sample([one]) == sample(logits, [one]) != [ids[0]]


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    temperature=st.sampled_from([0.1, 0.5, 1.0, 1.3, 3.0]),
    spread=st.sampled_from([0.5, 3.0]),
    num_excluded=st.sampled_from([0, 2]),
)
def test_a_tail_weighs_no_less_and_no_more_than_its_bounds(
    seed: int, temperature: float, spread: float, num_excluded: int
) -> None:
    logits = logits_of(seed, spread=spread)[0]
    descending = -np.sort(-logits.astype(np.float64))
    total = np.log(np.exp(descending).sum(keepdims=True))
    tail_bounds = VocabularyTailBounds.of(
        descending[None, :20].astype(np.float32), total.astype(np.float32), VOCAB_SIZE
    )
    counted = descending[20 + num_excluded :]
    weight = float(np.exp((counted - descending[1]) / temperature).sum())
    low, high = tail_bounds.bounds(
        np.array([1 / temperature]), peak=descending[1:2], num_excluded=np.array([num_excluded])
    )
    assert low[0] <= weight * 1.0001 and weight <= high[0] * 1.0001
    assert high[0] < 300 * np.exp((descending[19] - descending[1]) / temperature)
