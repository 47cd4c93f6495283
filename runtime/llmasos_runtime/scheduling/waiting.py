"""The sequences that wait, in the order in which they are admitted."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterator

from llmasos_runtime.sequences.sequence import SchedulingRank, Sequence

AGING = 64
"""So many admissions are worth one level of priority to those that wait meanwhile."""


class WaitingQueue:
    """The best rank's level comes first; in a level what ran before, then by deadline, arrival.

    A level is a priority less the whole AGINGs of sequences that had been admitted when it
    came, so nobody's place changes while it waits, and none starves: once AGING sequences
    for each level that lies between two priorities, and AGING more, have been admitted,
    whatever comes with the higher one stands behind what waited with the lower one.
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
    def first(self) -> Sequence:
        return self._sequences[0]

    def add(self, sequence: Sequence) -> None:
        """Take one that has arrived; this gives it its rank."""
        level = self._num_admitted // AGING - sequence.priority
        sequence.rank = SchedulingRank(level, self._num_arrived)
        self._num_arrived += 1
        insort(self._sequences, sequence, key=_place)

    def put_back(self, sequence: Sequence) -> None:
        """Take one that ran, and was preempted: it stands before all of its level that did not."""
        assert sequence.num_preemptions > 0
        insort(self._sequences, sequence, key=_place)

    def pop(self) -> Sequence:
        """The first one, which is admitted."""
        sequence = self._sequences.pop(0)
        self._num_admitted += sequence.num_preemptions == 0
        return sequence

    def remove(self, sequence: Sequence) -> None:
        index = bisect_left(self._sequences, _place(sequence), key=_place)
        assert self._sequences[index] is sequence
        del self._sequences[index]


def _place(sequence: Sequence) -> tuple[int, float, int]:
    deadline = -math.inf if sequence.num_preemptions else sequence.deadline
    return sequence.rank.level, deadline, sequence.rank.arrival
