"""The queue of waiting sequences, in the order of admission."""

from __future__ import annotations

import math
import time
from bisect import bisect_left, insort
from collections.abc import Iterator

from llmasos_runtime.sequences.sequence import SchedulingRank, Sequence

AGING = 64
"""Number of admissions that raise waiting sequences by one level of priority."""


class WaitingQueue:
    """Orders waiting sequences by level; in a level preempted ones first, then by deadline,
    arrival.

    A level is the number of whole AGINGs admitted before the sequence came, minus its priority. So
    nobody's place changes while it waits, and none starves: after AGING admissions for each level
    between two priorities, and AGING more, a newcomer of the higher priority stands behind those
    that waited with the lower one.
    """

    def __init__(self) -> None:
        self._sequences: list[Sequence] = []
        self._num_arrived = 0
        self._num_admitted = 0

    def __len__(self) -> int:
        return len(self._sequences)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._sequences)

    @property
    def num_preempted(self) -> int:
        """Sequences that have run and wait to go on."""
        return sum(sequence.num_preemptions > 0 for sequence in self._sequences)

    @property
    def first(self) -> Sequence:
        return self._sequences[0]

    def add(self, sequence: Sequence) -> None:
        """Queues a new sequence and sets its rank."""
        level = self._num_admitted // AGING - sequence.priority
        sequence.rank = SchedulingRank(level, self._num_arrived)
        self._num_arrived += 1
        insort(self._sequences, sequence, key=_place)

    def put_back(self, sequence: Sequence) -> None:
        """Queues a preempted sequence before all of its level that have not run."""
        assert sequence.num_preemptions > 0
        insort(self._sequences, sequence, key=_place)

    def pop(self) -> Sequence:
        """Removes and returns the first sequence, which is admitted."""
        sequence = self._sequences.pop(0)
        if not sequence.num_preemptions:
            self._num_admitted += 1
            sequence.first_scheduled_ns = time.monotonic_ns()
        return sequence

    def remove(self, sequence: Sequence) -> None:
        index = bisect_left(self._sequences, _place(sequence), key=_place)
        assert self._sequences[index] is sequence
        del self._sequences[index]


def _place(sequence: Sequence) -> tuple[int, float, int]:
    deadline = -math.inf if sequence.num_preemptions else sequence.deadline
    return sequence.rank.level, deadline, sequence.rank.arrival
