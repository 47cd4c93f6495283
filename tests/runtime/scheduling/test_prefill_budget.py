"""Short prompts do not wait for a long one, and a long one is not stopped by short ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from llmasos_runtime.scheduling.prefill_budget import divide
from llmasos_runtime.sequences.sequence import SchedulingRank, Sequence
from made_sequences import sequence


def prefilling(*prompts: int, levels: tuple[int, ...] = ()) -> list[Sequence]:
    made = [sequence(str(i), prompt=prompt) for i, prompt in enumerate(prompts)]
    for index, one in enumerate(made):
        one.rank = SchedulingRank(levels[index] if levels else 0, index)
    return made


def shares(sequences: list[Sequence], budget: int, chunk_multiple: int = 1) -> dict[str, int]:
    divided = divide(sequences, budget, chunk_multiple=chunk_multiple)
    return {share.sequence.request_id: share.num_tokens for share in divided}


def test_a_short_prompt_is_computed_beside_the_first_chunk_of_a_long_one() -> None:
    assert shares(prefilling(5000, 10, 20), 100) == {"0": 70, "1": 10, "2": 20}


def test_the_one_that_came_first_has_a_quarter_whatever_comes_after_it() -> None:
    assert shares(prefilling(5000, *[40] * 9), 100) == {"0": 25, "1": 40, "2": 35}


def test_equal_prompts_go_in_the_order_in_which_they_came() -> None:
    assert shares(prefilling(80, 80, 80), 200) == {"0": 80, "1": 80, "2": 40}


def test_one_that_matters_more_goes_before_a_shorter_one() -> None:
    assert shares(prefilling(60, 10, levels=(1, 0)), 40) == {"1": 10, "0": 30}
    assert shares(prefilling(10, 60, levels=(1, 0)), 40) == {"1": 40}


def test_a_prompt_alone_has_the_whole_step() -> None:
    assert shares(prefilling(5000), 100) == {"0": 100}
    assert shares(prefilling(5000), 100, chunk_multiple=32) == {"0": 96}


@given(
    prompts=st.lists(st.integers(1, 300), min_size=1, max_size=8),
    budget=st.integers(1, 400),
    chunk_multiple=st.sampled_from([1, 4, 32]),
)
def test_the_budget_is_kept_and_something_is_computed(
    prompts: list[int], budget: int, chunk_multiple: int
) -> None:
    sequences = prefilling(*prompts)
    divided = divide(sequences, budget, chunk_multiple=chunk_multiple)
    assert sum(share.num_tokens for share in divided) <= budget
    assert divided or budget < chunk_multiple
    for share in divided:
        ends_at = share.sequence.num_computed_tokens + share.num_tokens
        assert share.is_sampled or ends_at % chunk_multiple == 0
    left = budget - sum(share.num_tokens for share in divided)
    whole = {share.sequence for share in divided if share.is_sampled}
    assert left < chunk_multiple or all(s in whole for s in sequences)
