"""A sequence's distinct tokens and their counts are those that a plain count gives."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from llmasos_runtime.sampling.token_counts import Seen, TokenCounts

tokens = st.lists(st.integers(0, 12), max_size=30)


def counted(seen: Seen) -> dict[int, int]:
    assert len(set(seen.ids.tolist())) == seen.ids.size, "no token twice"
    return dict(zip(seen.ids.tolist(), seen.num_outputs.tolist(), strict=True))


def plain(prompt: list[int], output: list[int]) -> dict[int, int]:
    return {token: Counter(output)[token] for token in {*prompt, *output}}


@given(prompt=st.lists(st.integers(0, 12), min_size=1), chunks=st.lists(tokens, max_size=6))
def test_counts_follow_a_list_that_grows(prompt: list[int], chunks: list[list[int]]) -> None:
    token_ids = list(prompt)
    counts = TokenCounts(token_ids, num_prompt_tokens=len(prompt))
    for chunk in chunks:
        token_ids += chunk
        assert counted(counts.seen()) == plain(prompt, token_ids[len(prompt) :])


@given(prompt=st.lists(st.integers(0, 12), min_size=1), output=tokens, drafts=tokens)
def test_drafts_count_as_output_and_are_forgotten(
    prompt: list[int], output: list[int], drafts: list[int]
) -> None:
    counts = TokenCounts([*prompt, *output], num_prompt_tokens=len(prompt))
    assert counted(counts.seen(tuple(drafts))) == plain(prompt, [*output, *drafts])
    assert counted(counts.seen()) == plain(prompt, output)
