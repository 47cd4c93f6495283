"""The engine of a plan that sees each text once: packed steps, one after the other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol

from llmasos.engine.plan import EnginePlan, Limits
from llmasos.engine.plan_lock import PlanHold
from llmasos.errors import EngineStoppedError, InvalidRequestError, LLMasOSError
from llmasos.forked import OwnProcess
from llmasos.text.tokenizer import Tokenizer

from llmasos_runtime.encoding.request import Batch, Rows, Tokens, Urgency, Waiting
from llmasos_runtime.encoding.text_queue import TextQueue
from llmasos_runtime.engine.closed_at_exit import close_at_exit

_log = logging.getLogger(__name__)
_GATHER_S = 0.0005
"""Time that an idle engine waits after a request for others that arrive with it."""


class Runner(Protocol):
    """Computes the rows of some texts."""

    def run(self, texts: Sequence[Tokens]) -> Rows: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEngineStats:
    """num_waiting: texts in the queue. num_steps, num_texts, num_tokens: computed so far."""

    num_waiting: int
    num_steps: int
    num_texts: int
    num_tokens: int
    busy_s: float


class TextEngine:
    """Owns the thread that computes. Every request's future ends exactly once."""

    def __init__(
        self,
        plan: EnginePlan,
        tokenizer: Tokenizer,
        runner: Runner,
        limits: Limits,
        *,
        max_queue_size: int,
        hold: PlanHold | None = None,
    ) -> None:
        """limits: of a step. hold: is released when the engine is closed."""
        self.plan = plan
        self.tokenizer = tokenizer
        self.limits = limits
        self._process = OwnProcess("this engine")
        self._hold = hold
        self._queue = TextQueue(limits, max_size=max_queue_size)
        self._changed = threading.Condition()
        self._error: LLMasOSError | None = None
        self._closing = False
        self._counts = TextEngineStats(
            num_waiting=0, num_steps=0, num_texts=0, num_tokens=0, busy_s=0.0
        )
        self._thread = threading.Thread(
            target=self._run, args=(runner,), name="text-engine", daemon=True
        )
        self._thread.start()
        close_at_exit(self)

    def submit(self, texts: Sequence[Tokens], urgency: Urgency) -> Future[list[Rows]]:
        """Queues texts; the future gets the rows of each: one, or as many as it has tokens or
        selected ones. Cancelling it drops those that have not run.

        Raises InvalidRequestError for a text that is empty or too long, QueueFullError,
        EngineStoppedError.
        """
        self._process.check()
        for number, text in enumerate(texts):
            length = len(text.token_ids)
            if not 1 <= length <= self.plan.limits.max_seq_len:
                raise InvalidRequestError(
                    f"text {number} has {length} tokens, from 1 to "
                    f"{self.plan.limits.max_seq_len} fit"
                )
        batch = Batch(texts, urgency)
        if not texts:
            batch.future.set_result([])
            return batch.future
        with self._changed:
            if self._error is not None:
                raise self._error
            if self._closing:
                raise EngineStoppedError("the engine is closed")
            self._queue.add(batch)
            self._changed.notify_all()
        return batch.future

    def stats(self) -> TextEngineStats:
        """The current counts, for metrics."""
        with self._changed:
            return replace(self._counts, num_waiting=len(self._queue))

    @property
    def has_failed(self) -> bool:
        """True if the engine stopped by itself."""
        return self._error is not None and not self._closing

    def close(self) -> None:
        """Stops; unfinished requests get an EngineStoppedError. May be called again."""
        if not self._process.is_this:
            return
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if self._hold is not None:
            self._hold.release()

    def _run(self, runner: Runner) -> None:
        step: list[Waiting] | None = []
        try:
            while (step := self._next()) is not None:
                if step:
                    self._compute(runner, step)
            error: LLMasOSError = EngineStoppedError("the engine was closed")
        except Exception as problem:  # noqa: BLE001 - it is told to all that wait
            _log.exception("the engine failed")
            error = EngineStoppedError(f"the engine failed: {type(problem).__name__}: {problem}")
        with self._changed:
            self._error = error
            left = self._queue.take_all()
        for one in (*(step or ()), *left):
            one.batch.fail(error)

    def _next(self) -> list[Waiting] | None:
        """Waits for the texts of the next step; None when closing."""
        with self._changed:
            if not len(self._queue):
                self._changed.wait_for(lambda: len(self._queue) or self._closing)
                self._changed.wait_for(lambda: self._closing, _GATHER_S)
            return None if self._closing else self._queue.take()

    def _compute(self, runner: Runner, step: list[Waiting]) -> None:
        begun = time.perf_counter()
        rows = runner.run([one.tokens for one in step])
        for one, own in zip(step, self._each(rows, step), strict=True):
            one.batch.put(one.index, own)
        with self._changed:
            counts = self._counts
            self._counts = TextEngineStats(
                num_waiting=0,
                num_steps=counts.num_steps + 1,
                num_texts=counts.num_texts + len(step),
                num_tokens=counts.num_tokens + sum(one.num_tokens for one in step),
                busy_s=counts.busy_s + time.perf_counter() - begun,
            )

    def _each(self, rows: Rows, step: list[Waiting]) -> list[Rows]:
        """Returns each text's own rows."""
        task = self.plan.task
        if task == "classify_tokens":
            counts = [one.num_tokens for one in step]
        elif task == "fill_mask":
            counts = [len(one.tokens.selected) for one in step]
        else:
            counts = [1] * len(step)
        ends = list(accumulate(counts))
        return [rows[end - count : end] for count, end in zip(counts, ends, strict=True)]
