"""Which texts run together, and how every request ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from llmasos.engine.plan import Limits
from llmasos.errors import (
    DeadlineExceededError,
    EngineStoppedError,
    InvalidRequestError,
    QueueFullError,
)
from llmasos_runtime.encoding.packing import pack_texts
from llmasos_runtime.encoding.request import Batch, Rows, Tokens, Urgency
from llmasos_runtime.encoding.text_engine import TextEngine
from llmasos_runtime.encoding.text_queue import TextQueue
from llmasos_runtime.scheduling.waiting import AGING
from patience import PATIENCE_S

LIMITS = Limits(max_batch_size=4, max_num_tokens=32, max_seq_len=16)


def text(length: int) -> Tokens:
    """A text whose row is its length."""
    return Tokens(token_ids=[1] * length, type_ids=[0] * length)


def queued(*lengths: int, max_size: int = 1000, **urgency: Any) -> TextQueue:
    queue = TextQueue(LIMITS, max_size=max_size)
    queue.add(Batch([*map(text, lengths)], Urgency(**urgency)))
    return queue


def steps(queue: TextQueue) -> Iterator[list[int]]:
    """The lengths of the texts of each step."""
    while step := queue.take():
        yield [one.num_tokens for one in step]


def test_the_first_in_line_runs_with_those_of_its_length() -> None:
    queue = queued(5, 16, 6, 1, 16, 5, 4, 15)
    assert list(steps(queue)) == [[5, 5, 6, 4], [16, 16], [1, 15]]


def test_a_step_keeps_to_its_tokens_and_its_texts() -> None:
    for lengths in ([16] * 7, [1] * 9, [16, 1, 16, 1, 16, 1, 15, 2]):
        for step in steps(queued(*lengths)):
            assert len(step) <= 4
            assert sum(step) <= 32


def test_a_higher_priority_goes_first_and_waiting_raises_it() -> None:
    queue = queued(3, 3)
    queue.add(Batch([text(7)], Urgency(priority=2)))
    assert next(steps(queue)) == [7]
    for _ in range(3 * AGING):  # urgent ones that keep coming do not starve the others
        queue.add(Batch([text(7)], Urgency(priority=2)))
        if 3 in next(steps(queue)):
            break
    else:
        pytest.fail("the texts of no priority never ran")


def test_a_queue_that_is_full_refuses_and_an_empty_one_takes_any_number() -> None:
    queue = queued(*[1] * 9, max_size=5)
    with pytest.raises(QueueFullError, match="9 texts are already waiting, at most 5 may"):
        queue.add(Batch([text(1)], Urgency()))
    assert len(list(steps(queue))) == 3
    queue.add(Batch([text(1)], Urgency()))


def test_what_is_late_or_left_is_not_computed() -> None:
    late, left = Batch([text(1)] * 3, Urgency(deadline_ms=1)), Batch([text(2)] * 3, Urgency())
    queue = TextQueue(LIMITS, max_size=100)
    for batch in (late, left, Batch([text(3)], Urgency())):
        queue.add(batch)
    left.future.cancel()
    threading.Event().wait(0.01)
    assert list(steps(queue)) == [[3]]
    with pytest.raises(DeadlineExceededError, match="deadline_ms of 1 passed"):
        late.future.result()


class Counting:
    """A runner whose row of a text is its length. gate: each step waits for it."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()
        self.steps: list[int] = []
        self.fails = False

    def run(self, texts: Sequence[Tokens]) -> Rows:
        self.began.set()
        assert self.gate.wait(PATIENCE_S)
        if self.fails:
            raise RuntimeError("out of luck")
        self.steps.append(len(texts))
        return np.array([[len(one.token_ids)] for one in texts], np.float32)


def engine(runner: Counting, *, max_queue_size: int = 100) -> TextEngine:
    plan: Any = SimpleNamespace(task="embed", limits=LIMITS)
    tokenizer: Any = None
    return TextEngine(plan, tokenizer, runner, LIMITS, max_queue_size=max_queue_size)


def test_every_text_gets_its_own_row_whatever_runs_beside_it() -> None:
    with closing(engine(Counting(), max_queue_size=1000)) as made:
        lengths = [[1 + (7 * i + j) % 16 for j in range(1 + i % 5)] for i in range(40)]
        futures = [made.submit([*map(text, each)], Urgency()) for each in lengths]
        for each, future in zip(lengths, futures, strict=True):
            assert [float(row[0, 0]) for row in future.result(PATIENCE_S)] == each
        assert made.stats().num_texts == sum(map(len, lengths))
        assert made.submit([], Urgency()).result(PATIENCE_S) == []


def test_a_text_that_cannot_fit_is_refused_with_its_number() -> None:
    with closing(engine(Counting())) as made:
        for length in (0, 17):
            with pytest.raises(InvalidRequestError, match=f"text 1 has {length} tokens, from 1 to"):
                made.submit([text(3), text(length)], Urgency())


def test_closing_ends_what_waits() -> None:
    runner = Counting()
    runner.gate.clear()
    made = engine(runner)
    running = made.submit([text(3)], Urgency())
    assert runner.began.wait(PATIENCE_S)
    waiting = made.submit([text(3)], Urgency())
    closer = threading.Thread(target=made.close)
    closer.start()
    runner.gate.set()
    closer.join(PATIENCE_S)
    assert running.result(PATIENCE_S)
    with pytest.raises(EngineStoppedError, match="closed"):
        waiting.result(PATIENCE_S)
    with pytest.raises(EngineStoppedError, match="closed"):
        made.submit([text(3)], Urgency())


def test_a_runner_that_fails_is_told_to_all_that_wait() -> None:
    runner = Counting()
    runner.fails = True
    with closing(engine(runner)) as made:
        future = made.submit([text(3)], Urgency())
        with pytest.raises(EngineStoppedError, match="RuntimeError: out of luck"):
            future.result(PATIENCE_S)
        with pytest.raises(EngineStoppedError, match="out of luck"):
            made.submit([text(3)], Urgency())
        assert made.has_failed


def test_packed_and_padded_places_are_those_of_the_drawing() -> None:
    inputs = pack_texts(
        [
            Tokens(token_ids=[10, 11, 12], type_ids=[0, 0, 1], selected=[2]),
            Tokens(token_ids=[20], type_ids=[0]),
            Tokens(token_ids=[30, 31], type_ids=[0, 1], selected=[0, 1]),
        ]
    )
    assert inputs["input_ids"].tolist() == [10, 11, 12, 20, 30, 31]
    assert inputs["token_type_ids"].tolist() == [0, 0, 1, 0, 0, 1]
    assert inputs["position_ids"].tolist() == [0, 1, 2, 0, 0, 1]
    assert inputs["packed_at"].tolist() == [[0, 1, 2], [3, 3, 3], [4, 5, 5]]
    assert inputs["padded_at"].tolist() == [0, 1, 2, 3, 6, 7]
    assert inputs["lengths"].tolist() == [3, 1, 2]
    assert inputs["selected"].tolist() == [2, 4, 5]
