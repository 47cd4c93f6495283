"""Chooses which texts run together: the first in line, and those of about its length.

Attention runs over places as many as the longest text of a step has, so that texts of one length
waste none. A text waits for at most one step of others of its level: the first in line is always
taken.
"""

from __future__ import annotations

import time

from llmasos.engine.plan import Limits
from llmasos.errors import DeadlineExceededError, QueueFullError

from llmasos_runtime.encoding.request import Batch, Waiting
from llmasos_runtime.scheduling.waiting import WaitingQueue

_LOOKED_AT = 1024
"""Texts behind the first one that are looked at."""


class TextQueue:
    """Texts that wait. limits: of a step. max_size: texts that may wait before a request is
    refused.
    """

    def __init__(self, limits: Limits, *, max_size: int) -> None:
        self._limits = limits
        self._max_size = max_size
        self._waiting = WaitingQueue[Waiting]()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, batch: Batch) -> None:
        """Queues all texts of a request; raises QueueFullError if too many wait already."""
        if len(self._waiting) >= self._max_size:
            raise QueueFullError(
                f"{len(self._waiting)} texts are already waiting, at most {self._max_size} may"
            )
        deadline = batch.urgency.deadline()
        for index in range(len(batch.texts)):
            self._waiting.add(
                Waiting(
                    batch=batch, index=index, priority=batch.urgency.priority, deadline=deadline
                )
            )

    def take(self) -> list[Waiting]:
        """Removes and returns the texts of the next step; empty if none waits."""
        self._drop_ended()
        if not len(self._waiting):
            return []
        chosen = self._chosen()
        for one in chosen:
            self._waiting.admit(one)
        return chosen

    def take_all(self) -> list[Waiting]:
        """Removes and returns all."""
        everything = list(self._waiting)
        for one in everything:
            self._waiting.remove(one)
        return everything

    def _chosen(self) -> list[Waiting]:
        first = self._waiting.first
        others: list[Waiting] = []
        for one in self._waiting:
            if one.rank.level != first.rank.level or len(others) >= _LOOKED_AT:
                break
            others.append(one)
        others.sort(key=lambda one: (abs(one.num_tokens - first.num_tokens), one is not first))
        chosen: list[Waiting] = []
        num_tokens = 0
        for one in others:
            num_tokens += one.num_tokens
            if chosen and num_tokens > self._limits.max_num_tokens:
                break
            chosen.append(one)
            if len(chosen) == self._limits.max_batch_size:
                break
        return chosen

    def _drop_ended(self) -> None:
        """Removes texts that nobody waits for, and fails those that are too late."""
        now = time.monotonic()
        for one in list(self._waiting):
            if one.deadline <= now:
                wanted = one.batch.urgency.deadline_ms
                one.batch.fail(
                    DeadlineExceededError(
                        f"deadline_ms of {wanted} passed before all texts were encoded"
                    )
                )
            if one.batch.is_over:
                self._waiting.remove(one)
