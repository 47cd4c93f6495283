"""Penalties are those of transformers and of a plain formula, and finite whatever they are."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmasos.sampling import SamplingParams
from llmasos_runtime.sampling.logit_changes import LogitChanges
from llmasos_runtime.sampling.penalties import penalise
from llmasos_runtime.sampling.sampler import Draw, sample, takes_the_likeliest
from llmasos_runtime.sampling.token_counts import TokenCounts
from numpy.typing import NDArray

VOCABULARY = 50
texts = st.lists(st.integers(0, VOCABULARY - 1), max_size=40)


def made_row(seed: int = 0, size: int = VOCABULARY) -> NDArray[np.float32]:
    row = np.random.default_rng(seed).normal(scale=4, size=size).astype(np.float32)
    row.flags.writeable = False
    return row


def after(
    row: NDArray[np.float32], prompt: list[int], output: list[int], **penalties: float
) -> NDArray[np.float32]:
    counts = TokenCounts([*prompt, *output], num_prompt_tokens=len(prompt))
    fields: dict[str, Any] = {**penalties}
    changed = row.copy()
    penalise(changed, SamplingParams(**fields), counts.seen())
    return changed


def plain(
    row: NDArray[np.float32],
    prompt: list[int],
    output: list[int],
    *,
    repetition_penalty: float,
    presence_penalty: float,
    frequency_penalty: float,
) -> list[float]:
    """Token by token, as the definitions say it."""
    counts = Counter(output)
    logits = [float(logit) for logit in row]
    for token in {*prompt, *output}:
        is_negative = logits[token] < 0
        logits[token] *= repetition_penalty if is_negative else 1 / repetition_penalty
    for token, count in counts.items():
        logits[token] -= frequency_penalty * count + presence_penalty
    return logits


PENALTIES = st.fixed_dictionaries(
    {
        "repetition_penalty": st.floats(0.1, 10),
        "presence_penalty": st.floats(-2, 2),
        "frequency_penalty": st.floats(-2, 2),
    }
)


@given(seed=st.integers(0, 99), prompt=texts, output=texts, said=PENALTIES)
def test_the_penalties_are_those_of_the_plain_formula(
    seed: int, prompt: list[int], output: list[int], said: dict[str, float]
) -> None:
    row = made_row(seed)
    wanted = plain(row, prompt, output, **said)
    np.testing.assert_allclose(after(row, prompt, output, **said), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("penalty", [0.5, 1.1, 3.0])
def test_the_repetition_penalty_is_that_of_transformers(penalty: float) -> None:
    import needs_torch  # noqa: F401 - before torch
    import torch
    import transformers

    processor = transformers.RepetitionPenaltyLogitsProcessor(penalty)
    prompt, output, row = [3, 3, 7, 11], [7, 20, 20], made_row()
    theirs = processor(torch.tensor([prompt + output]), torch.tensor(np.array([row])))[0].numpy()
    ours = after(row, prompt, output, repetition_penalty=penalty)
    np.testing.assert_array_max_ulp(ours, theirs, 1)
    assert not np.array_equal(ours, row)


@pytest.mark.parametrize("penalty", [1e-300, 1e-40, 1e6])
def test_a_penalty_at_its_limits_leaves_finite_logits_finite_and_forbidden_ones_so(
    penalty: float,
) -> None:
    row = np.array([3e38, -3e38, 0.0, -np.inf, 1.0], np.float32)
    changed = after(row, [0, 1, 2, 3], [], repetition_penalty=penalty)
    assert np.isfinite(changed).tolist() == [True, True, True, False, True]
    assert changed[3] == -np.inf


def draw(prompt: list[int], output: list[int], drafts: tuple[int, ...] = (), **fields: Any) -> Draw:
    params = SamplingParams(**fields)
    return Draw(
        params=params,
        seed=5,
        output_index=len(output) + len(drafts),
        changes=LogitChanges(params, [*prompt, *output], num_prompt_tokens=len(prompt)),
        drafts=drafts,
    )


@pytest.mark.parametrize(
    ("penalty", "chosen"),
    [
        ({"presence_penalty": 0.5}, 1),  # 1 has 2.0 and was in the prompt alone
        ({"presence_penalty": 1.5}, 1),
        ({"repetition_penalty": 2.0}, 2),  # both 0 and 1 are halved
        ({"frequency_penalty": 0.3}, 0),
        ({"frequency_penalty": 0.7}, 1),
    ],
)
@pytest.mark.parametrize("temperature", [0.0, 1e-3])
def test_the_token_that_is_drawn_is_the_likeliest_after_the_penalty(
    penalty: dict[str, Any], chosen: int, temperature: float
) -> None:
    logits = np.array([[2.4, 2.0, 1.9, -1.0]], np.float32)
    if "frequency_penalty" in penalty:
        logits[0, 0] = 2.9  # 0 is twice in the output
    drawn = sample(logits, [draw([1, 1], [0, 0], temperature=temperature, **penalty)])
    assert drawn == [chosen]


@given(prompt=st.lists(st.integers(0, VOCABULARY - 1), min_size=1), output=texts, drafts=texts)
def test_a_draft_counts_as_if_it_were_output(
    prompt: list[int], output: list[int], drafts: list[int]
) -> None:
    said: dict[str, Any] = {"temperature": 1.0, "frequency_penalty": 1.0, "repetition_penalty": 1.3}
    guessed = draw(prompt, output, tuple(drafts), **said)
    known = draw(prompt, [*output, *drafts], **said)
    rows = made_row(1)[None, :]
    assert sample(rows, [guessed]) == sample(rows, [known])


def test_a_forbidden_token_stays_so_whatever_lifts_it() -> None:
    logits = np.array([[1.0, 0.0, 0.0]], np.float32)
    lifted = draw([0], [1], presence_penalty=-2.0)
    assert sample(logits, [lifted]) == [1]
    forbidden = Draw(
        params=lifted.params, seed=0, output_index=1, forbidden=(1,), changes=lifted.changes
    )
    assert sample(logits, [forbidden]) == [0]


def test_a_greedy_token_with_a_penalty_need_not_be_that_of_the_largest_logit() -> None:
    assert takes_the_likeliest(Draw(params=SamplingParams(), seed=0, output_index=0))
    assert not takes_the_likeliest(draw([1], [2], presence_penalty=1.0))


def test_logits_are_only_read() -> None:
    row = made_row()
    before = row.copy()
    sample(row[None, :], [draw([1, 2], [3], presence_penalty=2.0)])
    np.testing.assert_array_equal(row, before)
