"""Texts that wait for a network which sees each of them once."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from llmasos.errors import InvalidRequestError
from llmasos.sampling_limits import MAX_DEADLINE_MS, MAX_PRIORITY
from numpy.typing import NDArray

from llmasos_runtime.sequences.sequence import SchedulingRank

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Urgency:
    """priority: higher is sooner, from -100 to 100. deadline_ms: until then, or never."""

    priority: int = 0
    deadline_ms: int | None = None

    def __post_init__(self) -> None:
        if type(self.priority) is not int or abs(self.priority) > MAX_PRIORITY:
            raise InvalidRequestError(
                f"priority must be an integer from {-MAX_PRIORITY} to {MAX_PRIORITY}, got "
                f"{self.priority!r}"
            )
        wanted = self.deadline_ms
        if wanted is not None and (type(wanted) is not int or not 1 <= wanted <= MAX_DEADLINE_MS):
            raise InvalidRequestError(
                f"deadline_ms must be an integer from 1 to {MAX_DEADLINE_MS}, got {wanted!r}"
            )

    def deadline(self) -> float:
        """Returns the deadline by `time.monotonic()`, from now on."""
        wanted = self.deadline_ms
        return math.inf if wanted is None else time.monotonic() + wanted / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """One text. selected: places of the tokens that are predicted, for networks that predict some
    alone.
    """

    token_ids: Sequence[int]
    type_ids: Sequence[int]
    selected: Sequence[int] = ()


class Batch:
    """Texts of one request; its future gets the rows of each, or the first error.

    Cancelling the future drops the texts that have not run.
    """

    def __init__(self, texts: Sequence[Tokens], urgency: Urgency) -> None:
        self.texts = texts
        self.urgency = urgency
        self.future: Future[list[Rows]] = Future()
        self._rows: list[Rows | None] = [None] * len(texts)
        self._num_left = len(texts)

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for more rows."""
        return self.future.done()

    def put(self, index: int, rows: Rows) -> None:
        """Takes the rows of one text."""
        self._rows[index] = rows
        self._num_left -= 1
        if self._num_left == 0 and self.future.set_running_or_notify_cancel():
            self.future.set_result([rows for rows in self._rows if rows is not None])

    def fail(self, error: BaseException) -> None:
        """Ends the request, unless it has ended."""
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


@dataclass(slots=True, eq=False, kw_only=True)
class Waiting:
    """One text of a batch in the queue; see `WaitingQueue`."""

    batch: Batch
    index: int
    priority: int
    deadline: float
    rank: SchedulingRank = field(default=SchedulingRank(0, 0), init=False)
    num_preemptions: int = field(default=0, init=False)
    first_scheduled_ns: int = field(default=0, init=False)

    @property
    def tokens(self) -> Tokens:
        return self.batch.texts[self.index]

    @property
    def num_tokens(self) -> int:
        return len(self.tokens.token_ids)
