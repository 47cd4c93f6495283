"""Who runs in a step, and for how long a sequence keeps its blocks."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmasos.errors import InvalidRequestError, QueueFullError
from llmasos.outputs import FinishReason
from llmasos_runtime.scheduling.scheduler import Scheduler
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import SequenceProgress, Step
from made_sequences import BLOCK_SIZE, END, scheduler, sequence
from simulated_cache import SimulatedCache


def run(s: Scheduler, token_id: int = 9) -> tuple[Step, list[SequenceProgress]]:
    """One step in which every sequence that is sampled gets this token."""
    step = s.schedule()
    return step, s.commit(step, [token_id] * len(step.sampled))


def shares(step: Step) -> list[tuple[str, int]]:
    return [(share.sequence.request_id, share.num_tokens) for share in step.shares]


def test_a_long_prompt_is_prefilled_in_chunks() -> None:
    s = scheduler(max_num_tokens=8)
    s.add(sequence("a", prompt=20))
    steps = [run(s) for _ in range(3)]
    assert [shares(step) for step, _ in steps] == [[("a", 8)], [("a", 8)], [("a", 4)]]
    assert [bool(progress) for _, progress in steps] == [False, False, True]


def test_chunks_end_on_block_borders_when_they_must() -> None:
    s = scheduler(max_batch_size=4, max_num_tokens=10, chunk_multiple=4)
    s.add(sequence("a", prompt=19))
    assert [shares(run(s)[0]) for _ in range(3)] == [[("a", 8)], [("a", 8)], [("a", 3)]]


def test_a_new_prompt_joins_while_another_sequence_decodes() -> None:
    s = scheduler()
    s.add(sequence("old"))
    run(s)
    s.add(sequence("new", prompt=5))
    step = s.schedule()
    assert shares(step) == [("old", 1), ("new", 5)]
    assert (step.num_tokens, step.num_decode_tokens) == (6, 1)


def test_decoding_sequences_come_before_a_prompt_that_is_older() -> None:
    s = scheduler(max_num_tokens=8)
    s.add(sequence("short", prompt=2))
    s.add(sequence("long", prompt=30))
    assert shares(run(s)[0]) == [("short", 2), ("long", 6)]
    assert shares(run(s)[0]) == [("short", 1), ("long", 7)]


def test_a_late_short_request_is_answered_before_an_early_long_one_ends() -> None:
    s = scheduler()
    s.add(sequence("early", max_tokens=50))
    for _ in range(10):
        run(s)
    s.add(sequence("late", max_tokens=2))
    progress = [one for _ in range(2) for one in run(s)[1]]
    assert [p.sequence.request_id for p in progress] == ["early", "late"] * 2
    assert progress[-1].finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize(("token", "reason"), [(END, FinishReason.STOP), (9, FinishReason.LENGTH)])
def test_a_finished_sequence_gives_its_blocks_back(token: int, reason: FinishReason) -> None:
    s = scheduler(num_blocks=16)
    s.add(sequence(max_tokens=1))
    _, (progress,) = run(s, token)
    assert (progress.token_ids, progress.finish_reason) == ((token,), reason)
    assert not s.has_work
    assert s.num_free_blocks == 16


def test_a_sequence_waits_until_there_are_blocks_for_it_and_for_all_to_grow() -> None:
    s = scheduler(num_blocks=4)
    s.add(sequence("first", prompt=8, max_tokens=5))  # two blocks, and one more to come
    s.add(sequence("second", prompt=4, max_tokens=5))  # one block, and one more to come
    for _ in range(4):
        assert [name for name, _ in shares(run(s)[0])] == ["first"]
    assert (s.num_running, s.num_waiting) == (1, 1)
    run(s)
    assert shares(run(s)[0]) == [("second", 4)]


def test_what_waits_first_is_not_overtaken_by_what_is_smaller() -> None:
    s = scheduler(num_blocks=4)
    for name, max_tokens in (("a", 5), ("large", 13), ("small", 1)):
        s.add(sequence(name, prompt=4, max_tokens=max_tokens))
    order: list[str] = []
    while s.has_work:
        order += [p.sequence.request_id for p in run(s)[1] if p.finish_reason]
    assert order == ["a", "large", "small"]


def test_what_can_never_fit_is_refused_with_the_numbers() -> None:
    s = scheduler(num_blocks=2)
    s.add(sequence(prompt=4, max_tokens=5))
    with pytest.raises(InvalidRequestError, match=r"10 tokens .* need 3 KV blocks .* has 2"):
        s.add(sequence(prompt=4, max_tokens=6))


def test_a_full_queue_refuses_and_says_it_is_worth_retrying() -> None:
    s = scheduler(max_queue_size=1)
    s.add(sequence())
    with pytest.raises(QueueFullError, match="1 requests are already waiting") as caught:
        s.add(sequence("b"))
    assert caught.value.retryable


@pytest.mark.parametrize("num_steps", [0, 1, 2])
def test_a_sequence_can_be_ended_while_it_waits_and_while_it_runs(num_steps: int) -> None:
    s = scheduler(num_blocks=16)
    one = sequence()
    s.add(one)
    for _ in range(num_steps):
        run(s)
    assert s.finish(one, FinishReason.ABORT)
    assert not s.finish(one, FinishReason.STOP)
    assert one.finish_reason is FinishReason.ABORT
    assert (s.num_free_blocks, s.has_work) == (16, False)


def test_a_sequence_ended_in_the_middle_of_a_step_gets_nothing_from_it() -> None:
    s = scheduler()
    gone, stays = sequence("gone"), sequence("stays")
    s.add(gone)
    s.add(stays)
    step = s.schedule()
    s.finish(gone, FinishReason.ABORT)
    assert [p.sequence for p in s.commit(step, [8, 9])] == [stays]
    assert (gone.num_output_tokens, stays.token_ids[-1]) == (0, 9)


def test_no_end_token_may_be_drawn_before_min_tokens() -> None:
    s = scheduler()
    one = sequence(min_tokens=2)
    s.add(one)
    seen: list[tuple[int, ...]] = []
    for _ in range(3):
        seen.append(one.forbidden_token_ids(one.num_output_tokens))
        run(s)
    assert seen == [(END,), (END,), ()]


@dataclass
class Arrival:
    prompt: int
    max_tokens: int
    before_step: int
    ends_after: int
    is_cancelled_at: int | None


arrivals = st.lists(
    st.builds(
        Arrival,
        prompt=st.integers(1, 40),
        max_tokens=st.integers(1, 12),
        before_step=st.integers(0, 30),
        ends_after=st.integers(1, 15),
        is_cancelled_at=st.none() | st.integers(0, 40),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(
    arrivals=arrivals,
    num_blocks=st.integers(13, 40),
    max_batch_size=st.integers(1, 5),
    budget=st.integers(0, 30),
    chunk_multiple=st.sampled_from([1, BLOCK_SIZE]),
    reuse_prefixes=st.booleans(),
)
def test_every_sequence_ends_once_and_leaves_no_block_behind(
    *,
    arrivals: list[Arrival],
    num_blocks: int,
    max_batch_size: int,
    budget: int,
    chunk_multiple: int,
    reuse_prefixes: bool,
) -> None:
    cache = SimulatedCache()
    max_num_tokens = max_batch_size + chunk_multiple - 1 + budget
    s = scheduler(
        num_blocks=num_blocks,
        max_batch_size=max_batch_size,
        max_num_tokens=max_num_tokens,
        max_queue_size=100,
        chunk_multiple=chunk_multiple,
        reuse_prefixes=reuse_prefixes,
    )
    sequences = [
        sequence(str(i), prompt=a.prompt, max_tokens=a.max_tokens) for i, a in enumerate(arrivals)
    ]
    num_ends = dict.fromkeys(sequences, 0)
    for number in range(1000):
        for arrival, one in zip(arrivals, sequences, strict=True):
            if arrival.before_step == number:
                s.add(one)
            if arrival.is_cancelled_at == number and number >= arrival.before_step:
                num_ends[one] += s.finish(one, FinishReason.ABORT)
        step = s.schedule()
        check(step, s, max_num_tokens, max_batch_size, chunk_multiple)
        cache.run(step)
        assert step.shares or not s.has_work, "work is left, and nothing runs"
        tokens = [
            END if q.num_output_tokens + 1 >= arrivals[int(q.request_id)].ends_after else 9
            for q in step.sampled
        ]
        for progress in s.commit(step, tokens):
            num_ends[progress.sequence] += progress.finish_reason is not None
        if number > 30 and not s.has_work:
            break
    assert set(num_ends.values()) == {1}
    assert s.num_free_blocks == num_blocks


def check(
    step: Step, s: Scheduler, max_num_tokens: int, max_batch_size: int, chunk_multiple: int
) -> None:
    assert step.num_tokens <= max_num_tokens
    assert s.num_running <= max_batch_size
    for share in step.shares:
        one: Sequence = share.sequence
        ends_at = one.num_computed_tokens + share.num_tokens
        assert 1 <= share.num_tokens <= one.num_pending_tokens
        assert ends_at <= len(one.block_table) * BLOCK_SIZE
        assert share.is_sampled or ends_at % chunk_multiple == 0


def test_answers_to_one_prompt_share_the_blocks_that_the_first_computes() -> None:
    s = scheduler(reuse_prefixes=True)
    first, *others = (sequence(prompt=11, max_tokens=3) for _ in range(3))
    s.add(first, others)
    assert s.num_waiting == 3
    step = s.schedule()
    assert [share.sequence for share in step.shares] == [first]
    s.commit(step, [9])
    s.schedule()
    assert [one.num_cached_tokens for one in others] == [8, 8], "two blocks of 4, not the third"
    assert others[0].block_table[:2] == others[1].block_table[:2] == first.block_table[:2]


def test_answers_start_together_where_nothing_is_shared() -> None:
    s = scheduler(reuse_prefixes=False)
    first, other = sequence(), sequence()
    s.add(first, [other])
    assert [share.sequence for share in s.schedule().shares] == [first, other]


@pytest.mark.parametrize("ended", [0, 1])
def test_an_answer_that_ends_early_keeps_no_other_waiting(ended: int) -> None:
    s = scheduler(reuse_prefixes=True)
    answers = [sequence(prompt=11), sequence(prompt=11)]
    s.add(answers[0], answers[1:])
    assert s.finish(answers[ended], FinishReason.ABORT)
    assert s.num_waiting == 1
    step = s.schedule()
    assert [share.sequence for share in step.shares] == [answers[1 - ended]]
    s.commit(step, [9])
    assert s.finish(answers[1 - ended], FinishReason.ABORT)
    assert not s.has_work
    assert s.num_free_blocks == s.num_blocks


def test_a_deadline_ends_answers_that_wait_for_the_first() -> None:
    s = scheduler(reuse_prefixes=True)
    answers = [sequence(prompt=11, deadline=5.0), sequence(prompt=11, deadline=5.0)]
    s.add(answers[0], answers[1:])
    assert {*s.expire(6.0)} == {*answers}
    assert not s.has_work
