"""The queue of waiting sequences, in the order of admission."""

from __future__ import annotations

import math
import time
from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from llmasos_runtime.sequences.sequence import SchedulingRank

AGING = 64
"""Number of admissions that raise waiting sequences by one level of priority."""


class Waiting(Protocol):
    """What can wait.

    priority: 0 unless asked for. deadline: by `time.monotonic()`. rank: set by the queue.
    num_preemptions: how often it was put back. first_scheduled_ns: set when it is admitted.
    """

    priority: int
    deadline: float
    rank: SchedulingRank
    num_preemptions: int
    first_scheduled_ns: int


WaitingT = TypeVar("WaitingT", bound=Waiting)


class WaitingQueue(Generic[WaitingT]):
    """Orders waiting sequences by level; in a level preempted ones first, then by deadline,
    arrival.

    A level is the number of whole AGINGs admitted before the sequence came, minus its priority. So
    nobody's place changes while it waits, and none starves: after AGING admissions for each level
    between two priorities, and AGING more, a newcomer of the higher priority stands behind those
    that waited with the lower one.
    """

    def __init__(self) -> None:
        self._sequences: list[WaitingT] = []
        self._num_arrived = 0
        self._num_admitted = 0

    def __len__(self) -> int:
        return len(self._sequences)

    def __iter__(self) -> Iterator[WaitingT]:
        return iter(self._sequences)

    @property
    def num_preempted(self) -> int:
        """Sequences that have run and wait to go on."""
        return sum(sequence.num_preemptions > 0 for sequence in self._sequences)

    @property
    def first(self) -> WaitingT:
        return self._sequences[0]

    def add(self, sequence: WaitingT) -> None:
        """Queues a new sequence and sets its rank."""
        level = self._num_admitted // AGING - sequence.priority
        sequence.rank = SchedulingRank(level, self._num_arrived)
        self._num_arrived += 1
        insort(self._sequences, sequence, key=_place)

    def put_back(self, sequence: WaitingT) -> None:
        """Queues a preempted sequence before all of its level that have not run."""
        assert sequence.num_preemptions > 0
        insort(self._sequences, sequence, key=_place)

    def pop(self) -> WaitingT:
        """Removes and returns the first sequence, which is admitted."""
        sequence = self.first
        self.admit(sequence)
        return sequence

    def admit(self, sequence: WaitingT) -> None:
        """Removes a sequence, which is admitted."""
        self.remove(sequence)
        if not sequence.num_preemptions:
            self._num_admitted += 1
            sequence.first_scheduled_ns = time.monotonic_ns()

    def remove(self, sequence: WaitingT) -> None:
        index = bisect_left(self._sequences, _place(sequence), key=_place)
        assert self._sequences[index] is sequence
        del self._sequences[index]


def _place(sequence: Waiting) -> tuple[int, float, int]:
    deadline = -math.inf if sequence.num_preemptions else sequence.deadline
    return sequence.rank.level, deadline, sequence.rank.arrival
