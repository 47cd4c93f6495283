"""Biases, bad words and repeated n-grams are those of transformers' logits processors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmasos.sampling import SamplingParams
from llmasos_runtime.sampling.bad_words import BadWords
from llmasos_runtime.sampling.logit_changes import LogitChanges
from llmasos_runtime.sampling.repeated_ngrams import RepeatedNgrams
from numpy.typing import NDArray

VOCABULARY = 20
tokens = st.lists(st.integers(0, 4), min_size=1, max_size=30)
words = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple), max_size=4)


def made_row(seed: int = 0) -> NDArray[np.float32]:
    row = np.random.default_rng(seed).normal(scale=4, size=VOCABULARY).astype(np.float32)
    row.flags.writeable = False
    return row


def changed(
    text: list[int], *, bad_words: Sequence[tuple[int, ...]] = (), **fields: Any
) -> NDArray[np.float32]:
    changes = LogitChanges(SamplingParams(**fields), text, num_prompt_tokens=1, bad_words=bad_words)
    return changes.changed(made_row())


@pytest.mark.parity
@given(text=tokens, size=st.integers(1, 5))
def test_a_repeated_ngram_is_banned_as_in_transformers(text: list[int], size: int) -> None:
    import needs_torch  # noqa: F401 - before torch
    import torch
    import transformers

    processor = transformers.NoRepeatNGramLogitsProcessor(size)
    theirs = processor(torch.tensor([text]), torch.tensor(np.array([made_row()])))[0].numpy()
    np.testing.assert_array_equal(changed(text, no_repeat_ngram_size=size), theirs)


@pytest.mark.parity
@given(text=tokens, bad=words.filter(bool))
def test_a_bad_word_is_banned_as_in_transformers(
    text: list[int], bad: list[tuple[int, ...]]
) -> None:
    import needs_torch  # noqa: F401 - before torch
    import torch
    import transformers

    processor = transformers.NoBadWordsLogitsProcessor([*map(list, bad)], eos_token_id=19)
    theirs = processor(torch.tensor([text]), torch.tensor(np.array([made_row()])))[0].numpy()
    np.testing.assert_array_equal(changed(text, bad_words=bad), theirs)


@pytest.mark.parity
def test_a_bias_is_that_of_transformers() -> None:
    import needs_torch  # noqa: F401 - before torch
    import torch
    import transformers

    processor = transformers.SequenceBiasLogitsProcessor({(3,): 2.5, (7,): -9.0})
    theirs = processor(torch.tensor([[1, 2]]), torch.tensor(np.array([made_row()])))[0].numpy()
    np.testing.assert_array_equal(changed([1, 2], logit_bias={3: 2.5, 7: -9.0}), theirs)


def test_a_bias_comes_before_the_penalties() -> None:
    row = made_row()
    ours = changed([3], logit_bias={3: 50.0}, repetition_penalty=2.0)
    assert ours[3] == pytest.approx((row[3] + 50) / 2)


@given(text=tokens, drafts=tokens, size=st.integers(1, 4), bad=words)
def test_a_draft_counts_as_if_it_were_output(
    text: list[int], drafts: list[int], size: int, bad: list[tuple[int, ...]]
) -> None:
    guessed = RepeatedNgrams(text, size=size).banned(tuple(drafts))
    assert {*guessed} == {*RepeatedNgrams([*text, *drafts], size=size).banned()}
    assert BadWords(bad).banned(text, tuple(drafts)) == BadWords(bad).banned([*text, *drafts])


@given(text=tokens, more=tokens, size=st.integers(1, 4))
def test_a_sequence_that_grows_is_followed(text: list[int], more: list[int], size: int) -> None:
    growing = list(text)
    ngrams = RepeatedNgrams(growing, size=size)
    for token in more:
        ngrams.banned()
        growing.append(token)
    assert {*ngrams.banned()} == {*RepeatedNgrams([*text, *more], size=size).banned()}


def test_where_nothing_else_is_possible_the_bans_are_off() -> None:
    every = [(token,) for token in range(VOCABULARY)]
    np.testing.assert_array_equal(changed([1], bad_words=every), made_row())


def test_nothing_asked_for_changes_nothing() -> None:
    assert LogitChanges.asked_for(SamplingParams(), [1, 2]) is None
    assert LogitChanges.asked_for(SamplingParams(), [1, 2], bad_words=((1,),)) is not None
    for field in ({"logit_bias": {1: 1.0}}, {"no_repeat_ngram_size": 2}, {"presence_penalty": 1}):
        params: dict[str, Any] = field
        assert LogitChanges.asked_for(SamplingParams(**params), [1, 2]) is not None


@pytest.mark.parity
@given(text=tokens, suppressed=st.lists(st.integers(0, 19), min_size=1, max_size=9, unique=True))
def test_suppressed_tokens_are_those_of_transformers(
    text: list[int], suppressed: list[int]
) -> None:
    import needs_torch  # noqa: F401 - before torch
    import torch
    import transformers

    processor = transformers.SuppressTokensLogitsProcessor(suppressed, device="cpu")
    row = torch.tensor(np.array([made_row()]))
    theirs = processor(torch.tensor([text]), row)[0].numpy()
    np.testing.assert_array_equal(changed(text, suppress_tokens=suppressed), theirs)
    at_begin = transformers.SuppressTokensAtBeginLogitsProcessor(suppressed, 1, device="cpu")
    theirs = at_begin(torch.tensor([text]), row)[0].numpy()
    np.testing.assert_array_equal(changed(text, begin_suppress_tokens=suppressed), theirs)


def test_a_draft_is_not_the_first_token() -> None:
    changes = LogitChanges(SamplingParams(begin_suppress_tokens=(3,)), [1, 2], num_prompt_tokens=2)
    assert changes.changed(made_row())[3] == -np.inf
    assert changes.changed(made_row(), (5,))[3] == made_row()[3]


def test_only_allowed_tokens_are_left() -> None:
    ours = changed([1], allowed_token_ids=(3, 8), suppress_tokens=(8,), logit_bias={3: 1.0})
    assert np.flatnonzero(ours > -np.inf).tolist() == [3]
    assert ours[3] == pytest.approx(made_row()[3] + 1)


def test_where_every_allowed_token_is_banned_they_stay_allowed() -> None:
    ours = changed([1], allowed_token_ids=(3, 8), suppress_tokens=(3, 8))
    assert np.flatnonzero(ours > -np.inf).tolist() == [3, 8]
