"""The thread of low priority that sends what the engine has made."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
from llmasos.outputs import FinishReason
from llmasos_runtime.sequences.request import Update
from llmasos_runtime.triton.update_queue import UpdateQueue
from patience import PATIENCE_S


class Held:
    """Keeps what is delivered; each delivery by the queue's own thread waits to be let on."""

    def __init__(self) -> None:
        self.delivered: list[list[tuple[str, str]]] = []
        self.niceness: list[int] = []
        self.waits = threading.Event()
        self.may_go = threading.Semaphore(0)
        self.own = threading.get_ident()

    def deliver(self, updates: Sequence[Update]) -> None:
        if threading.get_ident() != self.own:
            self.waits.set()
            assert self.may_go.acquire(timeout=PATIENCE_S)
            self.niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        self.delivered.append([(update.request_id, update.text) for update in updates])


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def queue(held: Held) -> Iterator[UpdateQueue]:
    with closing(UpdateQueue(held.deliver)) as queue:
        yield queue


def update(request_id: str, text: str, *, ends: bool = False) -> Update:
    reason = FinishReason.STOP if ends else None
    return Update(request_id=request_id, text=text, finish_reason=reason)


def test_the_first_update_of_a_request_is_delivered_at_once(queue: UpdateQueue, held: Held) -> None:
    queue.put(update("a", "1"))
    queue.put(update("b", "2", ends=True))
    assert held.delivered == [[("a", "1")], [("b", "2")]]


def test_an_id_that_has_ended_begins_anew(queue: UpdateQueue, held: Held) -> None:
    queue.put(update("a", "1", ends=True))
    queue.put(update("a", "2", ends=True))
    assert held.delivered == [[("a", "1")], [("a", "2")]]


def test_what_gathers_for_a_request_is_delivered_together_and_requests_take_turns(
    queue: UpdateQueue, held: Held
) -> None:
    for name in ("a", "b"):
        queue.put(update(name, "1"))
    queue.put(update("a", "2"))
    assert held.waits.wait(PATIENCE_S)  # with the first of a; the rest gathers
    for number in ("3", "4"):
        queue.put(update("b", number))
        queue.put(update("a", number, ends=number == "4"))
    for _ in range(3):
        held.may_go.release()
    queue.flush(PATIENCE_S)
    assert held.delivered[2:] == [
        [("a", "2")],
        [("b", "3"), ("b", "4")],
        [("a", "3"), ("a", "4")],
    ]


def test_closing_delivers_what_waits(held: Held) -> None:
    held.may_go.release()
    with closing(UpdateQueue(held.deliver)) as queue:
        queue.put(update("a", "1"))
        queue.put(update("a", "2"))
    assert held.delivered == [[("a", "1")], [("a", "2")]]


def test_the_thread_gives_way_to_those_that_compute(held: Held) -> None:
    held.may_go.release()
    with closing(UpdateQueue(held.deliver)) as queue:
        queue.put(update("a", "1"))
        queue.put(update("a", "2"))
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert held.niceness[0] > own or own == 19
