"""Drafts change how many steps an answer takes, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmasos.errors import LLMasOSError
from llmasos.outputs import FinishReason
from llmasos_runtime.scheduling.scheduler import Scheduler
from llmasos_runtime.sequences.drafter import Drafter
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import Step
from made_sequences import END, scheduler, sequence
from simulated_cache import SimulatedCache


def drafted(prompt: list[int], *, max_tokens: int = 20, name: str = "a") -> Sequence:
    one = sequence(name, prompt=len(prompt), max_tokens=max_tokens)
    one.token_ids = list(prompt)
    one.drafter = Drafter(one.token_ids)
    return one


def after(token_ids: list[int], *, period: int, end: int) -> int:
    """A model: it repeats what it said a period before, but for every eleventh token."""
    if len(token_ids) == end:
        return END
    if len(token_ids) % 11 == 0 or len(token_ids) < period:
        return 100 + len(token_ids) % 7
    return token_ids[-period]


def sample(step: Step, *, period: int = 5, end: int = 10**6) -> list[int]:
    """What the model says at each sampled position of a step, drafts taken for true."""
    tokens: list[int] = []
    for share in step.shares:
        if share.is_sampled:
            past = share.sequence.token_ids[: share.sequence.num_computed_tokens]
            whole = [*past, *share.token_ids]
            tokens += [
                after(whole[: len(whole) - n], period=period, end=end)
                for n in reversed(range(share.num_sampled))
            ]
    assert len(tokens) == len(step.sampled)
    return tokens


def count_steps(s: Scheduler, **model: int) -> int:
    num_steps = 0
    while s.has_work:
        step = s.schedule()
        s.commit(step, sample(step, **model))
        num_steps += 1
    return num_steps


PROMPT = [1, 2, 3, 4, 5] * 3


@pytest.mark.parametrize("max_tokens", range(1, 30))
def test_an_answer_that_repeats_takes_fewer_steps_and_says_the_same(max_tokens: int) -> None:
    plain, fast = (drafted(PROMPT, max_tokens=max_tokens) for _ in range(2))
    plain.drafter = None
    s = scheduler(max_drafts=8)
    s.add(plain)
    assert count_steps(s) == max_tokens
    s.add(fast)
    num_steps = count_steps(s)
    assert fast.token_ids == plain.token_ids
    assert num_steps == max_tokens - fast.num_accepted_tokens
    assert num_steps <= max_tokens // 2 + 2
    assert s.num_free_blocks == s.num_blocks


def test_drafts_of_all_sequences_are_counted_when_they_are_computed() -> None:
    s = scheduler(max_drafts=8)
    answers = [drafted(PROMPT, name=name) for name in "ab"]
    for one in answers:
        s.add(one)
        count_steps(s)
    assert s.num_draft_tokens == sum(one.num_draft_tokens for one in answers)
    assert s.num_accepted_tokens == sum(one.num_accepted_tokens for one in answers)
    assert s.num_draft_tokens > s.num_accepted_tokens > 10


def test_an_end_token_among_drafts_ends_it_there() -> None:
    one = drafted(PROMPT, max_tokens=50)
    s = scheduler(max_drafts=8, reuse_prefixes=True)
    s.add(one)
    count_steps(s, end=27)
    assert (one.token_ids[-1], len(one.token_ids)) == (END, 28)
    assert one.finish_reason is FinishReason.STOP
    again = drafted(one.token_ids, max_tokens=1)
    s.add(again)
    s.schedule()
    assert again.num_cached_tokens <= 27


def test_a_token_that_cannot_be_chosen_counts_only_where_drafts_were_right() -> None:
    for bad_row, is_reached in ((1, True), (3, False)):
        one = drafted(PROMPT, max_tokens=50)
        s = scheduler(max_drafts=8)
        s.add(one)
        s.commit(s.schedule(), [1])
        step = s.schedule()
        assert len(step.sampled) > 3
        drafts = step.shares[0].draft_token_ids
        rows: list[int | None] = [drafts[0], 77, 78, *[79] * (len(step.sampled) - 3)]
        rows[bad_row] = None
        (progress,) = s.commit(step, rows)
        assert isinstance(progress.error, LLMasOSError) == is_reached
        assert (one.finish_reason is FinishReason.ABORT) == is_reached
        assert (s.num_free_blocks == s.num_blocks) == is_reached


def test_the_budget_and_prompts_come_before_drafts() -> None:
    s = scheduler(max_num_tokens=18, max_batch_size=4, max_drafts=8)
    for name in ("a", "b", "c"):
        s.add(drafted(PROMPT, name=name, max_tokens=40))
    while s.num_running:
        step = s.schedule()
        assert step.num_tokens <= 18
        assert not step.num_draft_tokens or step.num_decode_tokens == step.num_tokens
        s.commit(step, sample(step))


def test_where_a_row_costs_what_it_brings_nothing_is_guessed() -> None:
    s = scheduler(max_batch_size=64, max_num_tokens=2048, max_queue_size=64, max_drafts=8)
    for number in range(64):
        s.add(drafted(PROMPT, name=str(number), max_tokens=40))
    num_drafts = 0
    for _ in range(30):
        step = s.schedule()
        num_drafts += step.num_draft_tokens
        s.commit(step, sample(step))
    assert num_drafts == 0


def test_a_runner_that_takes_no_drafts_gets_none() -> None:
    s = scheduler()
    one = drafted(PROMPT)
    s.add(one)
    assert count_steps(s) == 20
    assert one.num_draft_tokens == 0


@dataclass
class Asked:
    prompt: int
    max_tokens: int
    period: int
    before_step: int
    is_cancelled_at: int | None


asked = st.lists(
    st.builds(
        Asked,
        prompt=st.integers(1, 25),
        max_tokens=st.integers(1, 30),
        period=st.integers(1, 6),
        before_step=st.integers(0, 20),
        is_cancelled_at=st.none() | st.integers(0, 40),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(
    asked=asked,
    num_blocks=st.integers(14, 40),
    max_batch_size=st.integers(1, 5),
    budget=st.integers(0, 30),
    reuse_prefixes=st.booleans(),
    max_drafts=st.integers(0, 9),
)
def test_tokens_are_those_without_drafts_whatever_runs_beside(
    *,
    asked: list[Asked],
    num_blocks: int,
    max_batch_size: int,
    budget: int,
    reuse_prefixes: bool,
    max_drafts: int,
) -> None:
    cache = SimulatedCache()
    s = scheduler(
        num_blocks=num_blocks,
        max_batch_size=max_batch_size,
        max_num_tokens=max_batch_size + budget,
        reuse_prefixes=reuse_prefixes,
        max_drafts=max_drafts,
    )
    sequences = [
        drafted([1 + n % a.period for n in range(a.prompt)], max_tokens=a.max_tokens, name=str(i))
        for i, a in enumerate(asked)
    ]
    for number in range(2000):
        for a, one in zip(asked, sequences, strict=True):
            if a.before_step == number:
                s.add(one)
        step = s.schedule()
        assert step.num_tokens <= max_batch_size + budget
        assert all(one.num_computed_tokens <= one.capacity for one in sequences)
        cache.run(step)
        tokens = sample(step)
        for a, one in zip(asked, sequences, strict=True):  # while the step runs
            if a.is_cancelled_at == number and number >= a.before_step:
                s.finish(one, FinishReason.ABORT)
        s.commit(step, tokens)
        if number > 20 and not s.has_work:
            break
    for one in sequences:
        expected = one.token_ids[: one.num_prompt_tokens]
        while len(expected) < len(one.token_ids):
            expected.append(after(expected, period=5, end=10**6))
        assert one.token_ids == expected
        assert len(expected) == one.max_len or one.finish_reason is FinishReason.ABORT
    assert s.num_free_blocks == num_blocks
