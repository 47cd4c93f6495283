"""Who is admitted next, that none waits for ever, and what ends by its deadline."""

from __future__ import annotations

import pytest
from llmasos.outputs import FinishReason
from llmasos_runtime.scheduling.scheduler import Scheduler
from llmasos_runtime.scheduling.waiting import AGING
from llmasos_runtime.sequences.sequence import Sequence
from made_sequences import scheduler, sequence


def one_at_a_time() -> Scheduler:
    return scheduler(max_batch_size=1, max_queue_size=10_000)


def run(s: Scheduler) -> str:
    """A step of what runs alone; its name."""
    step = s.schedule()
    s.commit(step, [9] * len(step.sampled))
    (share,) = step.shares
    return share.sequence.request_id


def short(name: str, *, priority: int = 0, deadline: float | None = None) -> Sequence:
    """It takes one step."""
    if deadline is None:
        return sequence(name, max_tokens=1, priority=priority)
    return sequence(name, max_tokens=1, priority=priority, deadline=deadline)


def order(s: Scheduler) -> list[str]:
    names: list[str] = []
    while s.has_work:
        names.append(run(s))
    return names


def test_a_higher_priority_is_admitted_first_and_equals_in_order_of_arrival() -> None:
    s = one_at_a_time()
    for name, priority in (("a", 0), ("b", 0), ("low", -3), ("high", 2), ("c", 0)):
        s.add(short(name, priority=priority))
    assert order(s) == ["high", "a", "b", "c", "low"]


def test_of_one_priority_the_earliest_deadline_is_admitted_first() -> None:
    s = one_at_a_time()
    s.add(short("never"))
    s.add(short("late", deadline=9.0))
    s.add(short("soon", deadline=5.0))
    s.add(short("high", priority=1))
    assert order(s) == ["high", "soon", "late", "never"]


@pytest.mark.parametrize("difference", [0, 1, 3])
def test_none_starves_behind_a_stream_of_what_matters_more(difference: int) -> None:
    """Two that matter more come for each that is admitted, with the earliest deadlines."""
    s = one_at_a_time()
    s.add(short("low", priority=-difference))
    num_before = 0
    for number in range(10 * AGING):
        s.add(short(f"{number}", deadline=1.0))
        s.add(short(f"{number} too", deadline=1.0))
        if run(s) == "low":
            break
        num_before += 1
    most = 2 * AGING * (difference + 1)
    assert AGING * difference <= num_before <= most


def test_a_stream_of_requests_does_not_lift_what_came_first_of_all_above_a_priority() -> None:
    s = one_at_a_time()
    for number in range(3 * AGING):
        s.add(short(str(number)))
    s.add(short("high", priority=1))
    assert run(s) == "high"


def test_what_is_late_ends_wherever_it_is_and_the_rest_goes_on() -> None:
    s = one_at_a_time()
    running = sequence("running", max_tokens=50, deadline=10.0)
    waiting, other = sequence("waiting", deadline=5.0), sequence("other")
    s.add(running)
    run(s)
    s.add(waiting)
    s.add(other)
    assert s.expire(4.9) == []
    assert s.expire(5.0) == [waiting]
    assert (s.num_running, s.num_waiting) == (1, 1)
    assert s.expire(9.9) == []
    step = s.schedule()
    assert s.expire(10.5) == [running]
    assert running.finish_reason is FinishReason.ABORT
    assert s.num_free_blocks == s.num_blocks
    assert s.commit(step, [9]) == []
    assert s.expire(1e9) == []
    assert order(s) == ["other"] * 4


def test_what_ended_is_not_late() -> None:
    s = one_at_a_time()
    one = short("a", deadline=1.0)
    s.add(one)
    run(s)
    assert s.expire(2.0) == []
    assert one.finish_reason is FinishReason.LENGTH


def test_a_preempted_sequence_can_be_late() -> None:
    s = scheduler(num_blocks=5)
    s.add(sequence("early", prompt=4, max_tokens=13))
    late = sequence("late", prompt=4, max_tokens=13, deadline=1.0)
    s.add(late)
    while not late.num_preemptions:
        step = s.schedule()
        s.commit(step, [9] * len(step.sampled))
    assert s.expire(1.0) == [late]
    assert s.num_waiting == 0
