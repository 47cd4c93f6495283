"""What is drawn, from which tokens, and that nothing else matters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmasos.sampling import SamplingParams
from llmasos_runtime.sampling import sampler
from llmasos_runtime.sampling.sampler import Draw, sample, uniform
from numpy.typing import NDArray

VOCABULARY = 6000  # more than the sampler sorts or sums at once


def draw(
    *, seed: int = 0, output_index: int = 0, forbidden: tuple[int, ...] = (), **params: Any
) -> Draw:
    return Draw(
        params=SamplingParams(**{"temperature": 1.0, **params}),
        seed=seed,
        output_index=output_index,
        forbidden=forbidden,
    )


def made_logits(seed: int, *, rows: int = 1, size: int = VOCABULARY) -> NDArray[np.float32]:
    """Normal ones; some alike, some -inf, a few far above; read-only, as the engine's are."""
    random = np.random.default_rng(seed)
    logits: NDArray[np.float32] = random.normal(
        scale=random.choice([0.3, 1, 4]), size=(rows, size)
    ).astype(np.float32)
    logits[:, random.integers(size, size=size // 50)] += 5
    if seed % 2:
        logits = np.round(logits, 1)
    if seed % 3 == 0:
        logits[:, random.integers(size, size=size // 4)] = -np.inf
    logits.flags.writeable = False
    return logits


def reference(row: NDArray[np.float32], params: SamplingParams) -> NDArray[np.float64]:
    """The probabilities to draw from, plainly: sort, and cut three times."""
    logits = row.astype(np.float64) / params.temperature
    order = np.lexsort((np.arange(row.size), -row))
    if params.top_k:
        order = order[: params.top_k]
    share = np.exp(logits[order] - logits[order[0]])
    share /= share.sum()
    if params.top_p < 1:
        last = np.searchsorted(share.cumsum(), params.top_p)
        order, share = order[: last + 1], share[: last + 1]
    is_kept = share >= params.min_p * share[0]
    probabilities = np.zeros(row.size)
    probabilities[order[is_kept]] = share[is_kept] / share[is_kept].sum()
    return probabilities


def drawn(row: NDArray[np.float32], count: int, **params: Any) -> NDArray[np.int64]:
    draws = [draw(output_index=index, **params) for index in range(count)]
    tokens = sample(np.broadcast_to(row, (count, row.size)), draws)
    assert None not in tokens
    return np.array(tokens)


some_params: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 1e-3, 0.3, 1.0, 1.7, 50.0]),
        "top_k": st.sampled_from([0, 1, 2, 5, 40, 1500, VOCABULARY, 10**6]),
        "top_p": st.sampled_from([1e-6, 0.1, 0.5, 0.9, 0.97, 1.0]),
        "min_p": st.sampled_from([0.0, 0.01, 0.2, 1.0]),
        "seed": st.integers(0, 2**64 - 1),
        "output_index": st.integers(0, 2**31),
    }
)


def test_greedy_takes_the_largest_and_of_equal_ones_the_lowest_id() -> None:
    logits = np.array([[0, 3, 3, 1], [5, 0, 0, 5], [-np.inf, -1, -2, -1]], np.float32)
    assert sample(logits, [draw(temperature=0)] * 3) == [1, 0, 1]


def test_an_empty_batch_has_no_tokens() -> None:
    assert sample(np.zeros((0, 8), np.float32), []) == []


@settings(max_examples=150, deadline=None)
@given(logits_seed=st.integers(0, 50), params=some_params)
def test_a_token_is_one_that_the_filters_leave(logits_seed: int, params: dict[str, Any]) -> None:
    logits = made_logits(logits_seed)
    wanted = draw(**params)
    (token,) = sample(logits, [wanted])
    assert token is not None
    if wanted.params.temperature == 0:
        assert token == logits[0].argmax()
        return
    # Single precision may end the nucleus a token earlier or later.
    nearby = [min(1.0, wanted.params.top_p * (1 + e)) for e in (0, 1e-5)]
    changed = [replace(wanted.params, top_p=p) for p in nearby]
    assert sum(reference(logits[0], p)[token] for p in changed) > 0


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 3.0},
        {"top_k": 3},
        {"top_p": 0.8},
        {"min_p": 0.1},
        {"top_k": 8, "top_p": 0.7, "min_p": 0.2, "temperature": 1.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [12, 3 * 512 + 7])
def test_tokens_come_as_often_as_they_should(params: dict[str, Any], size: int) -> None:
    row = np.full(size, -30, np.float32)
    row[:: size // 12] = np.random.default_rng(5).normal(size=row[:: size // 12].size)
    count = 4000
    expected = count * reference(row, draw(**params).params)
    observed = np.bincount(drawn(row, count, seed=11, **params), minlength=size)
    assert not observed[expected == 0].any()
    is_common = expected > 5
    chi_square = ((observed - expected) ** 2 / np.maximum(expected, 1e-9))[is_common].sum()
    freedom = is_common.sum() - 1
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom) + 4


@pytest.mark.parametrize(
    "params",
    [
        *({"top_k": k} for k in (1, 2, 50, 700, 5000)),
        *({"top_p": p} for p in (0.001, 0.3, 0.9, 0.999)),
        *({"min_p": p} for p in (0.001, 0.5, 1.0)),
        {"top_k": 60, "top_p": 0.8, "min_p": 0.05},
    ],
    ids=str,
)
@pytest.mark.parametrize("logits_seed", range(4))
def test_every_token_that_is_left_can_come_and_no_other(
    logits_seed: int, params: dict[str, Any]
) -> None:
    row = made_logits(logits_seed)[0]
    seen: list[NDArray[np.float32]] = []

    def pick(weights: NDArray[np.float32], share: float) -> int:
        seen.append(weights)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampler, "_pick", pick)
        sample(row[None], [draw(**params)])
    expected = reference(row, draw(**params).params)
    expected = expected[expected > 0]
    (weights,) = seen
    weights = weights[weights > 0]
    assert abs(weights.size - expected.size) <= (1 if params.get("top_p", 1) < 1 else 0)
    if weights.size == expected.size:
        np.testing.assert_allclose(weights / weights.sum(), expected, rtol=1e-4, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    logits_seed=st.integers(0, 50),
    params=st.lists(some_params, min_size=1, max_size=6),
    forbidden=st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=2), min_size=6),
)
def test_a_draw_depends_on_its_own_row_alone(
    logits_seed: int, params: list[dict[str, Any]], forbidden: list[list[int]]
) -> None:
    logits = made_logits(logits_seed, rows=len(params))
    draws = [
        draw(**p, forbidden=tuple(f)) for p, f in zip(params, forbidden[: len(params)], strict=True)
    ]
    together = sample(logits, draws)
    for index, wanted in enumerate(draws):
        assert sample(logits[index : index + 1].copy(), [wanted]) == [together[index]]
    assert sample(logits[::-1], draws[::-1]) == together[::-1]


@settings(max_examples=60, deadline=None)
@given(logits_seed=st.integers(0, 50), seed=st.integers(0, 2**64 - 1))
def test_filters_that_keep_all_change_no_draw(logits_seed: int, seed: int) -> None:
    logits = made_logits(logits_seed)
    plain = sample(logits, [draw(seed=seed)])
    for params in ({"top_k": 0}, {"top_k": VOCABULARY}, {"top_p": 1.0}, {"min_p": 0.0}):
        assert sample(logits, [draw(seed=seed, **params)]) == plain


def test_seeds_repeat_and_differ_and_so_do_the_tokens_of_one() -> None:
    row = np.zeros(1000, np.float32)
    first = drawn(row, 50, seed=2**64 - 1)
    assert (first == drawn(row, 50, seed=2**64 - 1)).all()
    assert (first != drawn(row, 50, seed=0)).sum() > 40
    assert np.unique(first).size > 40


def test_numbers_are_uniform_and_unrelated_across_seeds_and_indices() -> None:
    numbers = np.array([[uniform(seed, index) for index in range(100)] for seed in range(100)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert np.unique(numbers).size == numbers.size
    counts = np.histogram(numbers, bins=50, range=(0, 1))[0]
    assert ((counts - 200) ** 2 / 200).sum() < 49 + 4 * np.sqrt(98)
    for ours, theirs in ((numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])):
        assert abs(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]) < 0.05


def test_the_numbers_of_a_seed_never_change() -> None:
    numbers = [uniform(7, 0), uniform(7, 1), uniform(2**64 - 1, 2**31)]
    assert numbers == [0.7215081806049702, 0.15589407130731636, 0.5032316411401221]


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("size", [5, VOCABULARY])
def test_huge_logits_and_tiny_temperatures_do_not_overflow(temperature: float, size: int) -> None:
    for scale in (1e4, 3e38):
        row = np.linspace(-scale, scale, size, dtype=np.float32)
        (token,) = sample(row[None], [draw(temperature=temperature, top_p=0.9, min_p=0.5)])
        assert token is not None
        if temperature < 1:
            assert token == size - 1


def test_forbidden_tokens_do_not_come() -> None:
    row = np.array([0, 9, 8, 1], np.float32)
    assert sample(row[None], [draw(temperature=0, forbidden=(1,))]) == [2]
    assert sample(row[None], [draw(temperature=0, forbidden=(1, 2, 99))]) == [3]
    assert set(drawn(row, 200, forbidden=(1, 2))) == {0, 3}
    assert set(drawn(row, 50, forbidden=(1,), top_k=1)) == {2}


def test_a_forbidden_token_comes_if_it_is_the_only_one() -> None:
    row = np.array([-np.inf, 2, -np.inf, 1], np.float32)
    assert sample(row[None], [draw(temperature=0, forbidden=(1, 3))]) == [1]
    assert set(drawn(row, 50, forbidden=(1, 3))) == {1, 3}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("forbidden", [(), (0,)])
def test_a_row_without_a_choice_spoils_no_other(
    temperature: float, forbidden: tuple[int, ...]
) -> None:
    logits = np.zeros((5, VOCABULARY), np.float32)
    logits[:, 3] = 100
    logits[0, 10] = np.nan
    logits[1] = -np.inf
    logits[2, 7] = np.inf
    logits[3, 0] = np.nan
    wanted = draw(temperature=temperature, forbidden=forbidden)
    assert sample(logits, [wanted] * 5) == [None, None, None, None, 3]
