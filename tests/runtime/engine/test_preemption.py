"""When blocks run out: who gives way, and that everyone gets there in the end."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmasos.outputs import FinishReason
from llmasos_runtime.kv_cache.blocks import blocks_for
from llmasos_runtime.scheduling.scheduler import Scheduler
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import SequenceProgress, Step
from made_sequences import BLOCK_SIZE, scheduler, sequence


def run(s: Scheduler) -> tuple[Step, list[SequenceProgress]]:
    """One step; a sequence's n-th output token is 100 + n."""
    step = s.schedule()
    return step, s.commit(step, [100 + q.num_output_tokens for q in step.sampled])


def names(step: Step) -> list[str]:
    return [share.sequence.request_id for share in step.shares]


def test_the_latest_gives_way_and_is_computed_again_with_its_answer_so_far() -> None:
    s = scheduler(num_blocks=5)
    early, late = (sequence(name, prompt=4, max_tokens=13) for name in ("early", "late"))
    s.add(early)
    s.add(late)
    while not late.num_preemptions:
        step, _ = run(s)
    assert (names(step), step.num_preempted, s.num_preemptions) == (["early"], 1, 1)
    assert (late.num_output_tokens, late.block_table, s.num_waiting) == (5, [], 1)
    while not late.block_table:
        step, _ = run(s)
    assert early.finish_reason is FinishReason.LENGTH
    assert [(share.sequence, share.num_tokens) for share in step.shares] == [(late, 9)]
    while s.has_work:
        run(s)
    assert late.token_ids[4:] == [100 + n for n in range(13)]
    assert (s.num_free_blocks, late.num_prompt_tokens) == (5, 4)


def test_what_its_blocks_held_is_found_again_and_usage_says_the_prompts_alone() -> None:
    s = scheduler(num_blocks=6, reuse_prefixes=True)
    early, late = (sequence(name, prompt=4, max_tokens=12) for name in ("early", "late"))
    late.token_ids = [1, 2, 3, 4]
    s.add(early)
    s.add(late)
    while not late.num_preemptions:
        run(s)
    s.finish(early, FinishReason.ABORT)
    step, _ = run(s)
    (share,) = step.shares
    assert share.num_tokens < late.num_prefill_tokens
    assert (late.num_cached_tokens, s.num_reused_blocks) == (0, (13 - share.num_tokens) // 4)


def test_a_lower_priority_gives_way_though_it_came_first() -> None:
    s = scheduler(num_blocks=5)
    low = sequence("low", prompt=4, max_tokens=13)
    high = sequence("high", prompt=4, max_tokens=13, priority=1)
    s.add(low)
    s.add(high)
    while s.has_work:
        run(s)
    assert (low.num_preemptions, high.num_preemptions) == (1, 0)


def test_what_was_preempted_comes_before_what_waits_with_its_priority() -> None:
    s = scheduler(num_blocks=5)
    for name in ("early", "late", "new"):
        s.add(sequence(name, prompt=4, max_tokens=13))
    while not s.num_preemptions:
        run(s)
    s.add(sequence("soon", prompt=4, max_tokens=13, deadline=1.0))
    s.add(sequence("urgent", prompt=4, max_tokens=13, priority=1))
    seen = ["early"]
    while s.has_work:
        seen += [name for name in names(run(s)[0]) if name not in seen]
    assert seen == ["early", "urgent", "late", "soon", "new"]


def test_what_is_preempted_can_be_cancelled() -> None:
    s = scheduler(num_blocks=5)
    early, late = (sequence(name, prompt=4, max_tokens=13) for name in ("early", "late"))
    s.add(early)
    s.add(late)
    while not late.num_preemptions:
        run(s)
    assert s.finish(late, FinishReason.ABORT)
    assert (s.num_waiting, s.num_running) == (0, 1)
    assert s.num_free_blocks == 5 - len(early.block_table)


@pytest.mark.parametrize("reuse_prefixes", [False, True])
def test_a_block_that_holds_the_longest_sequence_is_a_slot(reuse_prefixes: bool) -> None:
    s = scheduler(num_blocks=3, block_size=4096, max_batch_size=3, reuse_prefixes=reuse_prefixes)
    sequences = [sequence(str(n), prompt=9, max_tokens=30) for n in range(4)]
    for one in sequences:
        s.add(one)
    assert names(run(s)[0]) == ["0", "1", "2"]
    tables = [one.block_table for one in sequences]
    while s.has_work:
        run(s)
        assert [one.block_table for one in sequences[:3]] == tables[:3]
    assert (s.num_preemptions, s.num_free_blocks) == (0, 3)


@dataclass
class Arrival:
    prompt: int
    max_tokens: int
    priority: int
    before_step: int


arrivals = st.lists(
    st.builds(
        Arrival,
        prompt=st.integers(1, 20),
        max_tokens=st.integers(1, 40),
        priority=st.integers(-1, 1),
        before_step=st.integers(0, 30),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(
    arrivals=arrivals,
    num_blocks=st.integers(15, 30),
    max_batch_size=st.integers(1, 8),
    budget=st.integers(0, 30),
    reuse_prefixes=st.booleans(),
)
def test_all_end_with_their_tokens_once_and_few_give_way_never_to_one_that_matters_less(
    *,
    arrivals: list[Arrival],
    num_blocks: int,
    max_batch_size: int,
    budget: int,
    reuse_prefixes: bool,
) -> None:
    s = scheduler(
        num_blocks=num_blocks,
        max_batch_size=max_batch_size,
        max_num_tokens=max_batch_size + budget,
        max_queue_size=100,
        reuse_prefixes=reuse_prefixes,
    )
    sequences = [
        sequence(str(n), prompt=a.prompt, max_tokens=a.max_tokens, priority=a.priority)
        for n, a in enumerate(arrivals)
    ]
    given_out: dict[Sequence, list[int]] = {one: [] for one in sequences}
    for number in range(3000):
        for arrival, one in zip(arrivals, sequences, strict=True):
            if arrival.before_step == number:
                s.add(one)
        ran = {one: one.num_preemptions for one in sequences if one.block_table}
        step = s.schedule()
        check_victims({one: n for one, n in ran.items() if one.finish_reason is None})
        tokens = [100 + q.num_output_tokens for q in step.sampled]
        for progress in s.commit(step, tokens):
            given_out[progress.sequence] += progress.token_ids
        if number > 30 and not s.has_work:
            break
    assert [len(tokens) for tokens in given_out.values()] == [a.max_tokens for a in arrivals]
    for one, tokens in given_out.items():
        assert tokens == [100 + n for n in range(len(tokens))] == one.token_ids[-len(tokens) :]
    assert s.num_free_blocks == num_blocks
    most = sum(
        blocks_for(one.max_cached_tokens, BLOCK_SIZE) - blocks_for(a.prompt, BLOCK_SIZE)
        for one, a in zip(sequences, arrivals, strict=True)
    )
    assert s.num_preemptions <= most * (max_batch_size if reuse_prefixes else 1)


def check_victims(ran: dict[Sequence, int]) -> None:
    """ran: the sequences that ran before a step was scheduled, and how often each had given way."""
    victims = [one.rank for one, before in ran.items() if one.num_preemptions > before]
    stayed = [one.rank for one, before in ran.items() if one.num_preemptions == before]
    if victims:
        assert stayed, "one sequence alone always fits"
        assert min(victims) > max(stayed)
