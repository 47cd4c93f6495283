"""The step loop: schedule, run, sample, commit. Updates are sent while the next step runs."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence as SequenceOf
from dataclasses import replace

from llmasos.errors import EngineStoppedError, LLMasOSError
from llmasos.outputs import FinishReason

from llmasos_runtime.engine.admission import check_free
from llmasos_runtime.engine.closed_at_exit import close_at_exit
from llmasos_runtime.engine.metrics import EngineStats
from llmasos_runtime.engine.request_output import Answer, deadline_error
from llmasos_runtime.engine.step_log import StepLog, StepRecord
from llmasos_runtime.machine.resources import resident_bytes
from llmasos_runtime.runner import ModelRunner
from llmasos_runtime.sampling.scores import Scores
from llmasos_runtime.scheduling.scheduler import Scheduler
from llmasos_runtime.sequences.request import Update
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import SequenceProgress, Step

_log = logging.getLogger(__name__)
_GATHER_S = 0.001
"""Time that an idle engine waits after a request for others that arrive with it."""


class Executor:
    """Owns the thread that runs the engine. Every submitted request gets one final update.

    The scheduler is only touched under the lock. The engine's thread sends updates, in order, after
    it has started the next step, so detokenizing and sending take no time between two steps. As
    detokenizing step N overlaps step N+1, a stop string found in N discards the token of N+1.
    """

    def __init__(self, scheduler: Scheduler, runner: ModelRunner) -> None:
        self._scheduler = scheduler
        self._live: dict[str, list[Answer]] = {}  # those without a final update
        self._cancelled: list[SequenceProgress] = []
        self._steps = StepLog()
        self._changed = threading.Condition()
        self._error: LLMasOSError | None = None
        self._closing = False
        self._abandoned: deque[str] = deque()
        self._thread = threading.Thread(
            target=self._run, args=(runner,), name="engine", daemon=True
        )
        self._thread.start()
        close_at_exit(self)

    def submit(self, answers: SequenceOf[Answer], *, is_admitted: bool = False) -> None:
        """Queues the answers to one request; raises EngineStoppedError, QueueFullError,
        InvalidRequestError.

        is_admitted: it goes on with a request that was admitted before, so no queue is too long.
        """
        first, *others = (answer.sequence for answer in answers)
        with self._changed:
            if self._error is not None or self._closing:
                raise self._error or EngineStoppedError("the engine is closed")
            self._end_abandoned()  # one of this id that has ended must not end the new one
            check_free(first.request_id, self._live)
            self._scheduler.add(first, others, is_admitted=is_admitted)
            self._live[first.request_id] = list(answers)
            self._changed.notify()

    def cancel(self, request_id: str) -> bool:
        """Ends a request and frees its blocks at once; False if it has ended or never existed."""
        with self._changed:
            live = [answer.sequence for answer in self._live.get(request_id, ())]
            ended = [one for one in live if self._scheduler.finish(one, FinishReason.ABORT)]
            self._cancelled += (
                SequenceProgress(one, finish_reason=FinishReason.ABORT) for one in ended
            )
            self._changed.notify()
            return bool(ended)

    def abandon(self, request_id: str) -> None:
        """Ends a request before the next step. It takes no lock, so a destructor may call it."""
        self._abandoned.append(request_id)

    def close(self) -> None:
        """Stops after the running step; unfinished requests end with an EngineStoppedError."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def stats(self) -> EngineStats:
        """A consistent snapshot of the counts."""
        with self._changed:
            scheduler = self._scheduler
            return EngineStats(
                num_running=scheduler.num_running,
                num_waiting=scheduler.num_waiting,
                num_blocks=scheduler.num_blocks,
                num_free_blocks=scheduler.num_free_blocks,
                num_reused_blocks=scheduler.num_reused_blocks,
                num_preemptions=scheduler.num_preemptions,
                num_steps=self._steps.num_steps,
                num_draft_tokens=scheduler.num_draft_tokens,
                num_accepted_tokens=scheduler.num_accepted_tokens,
                max_running=scheduler.max_running,
                num_prefilling=scheduler.num_prefilling,
                block_size=scheduler.block_size,
                num_paused=scheduler.num_paused,
                num_context_tokens=self._steps.num_prefill_tokens,
                cpu_bytes=resident_bytes(),
                time_us=time.time_ns() // 1000,
            )

    def step_log(self) -> tuple[StepRecord, ...]:
        """The last steps, oldest first."""
        return self._steps.records()

    def _run(self, runner: ModelRunner) -> None:
        try:
            self._loop(runner)
            self._end_all(EngineStoppedError("the engine is closed"))
        except Exception as error:  # noqa: BLE001 - the boundary: a failed engine must say so
            _log.critical("the engine has stopped", exc_info=True)
            message = f"the engine has stopped: {type(error).__name__}: {error}"
            self._end_all(EngineStoppedError(message))
        finally:
            runner.close()

    def _loop(self, runner: ModelRunner) -> None:
        progress: deque[SequenceProgress] = deque()
        while (step := self._next_step(progress)) is not None:
            started = time.perf_counter()
            if step.shares:
                runner.start(step)
            self._give_out(progress)
            if step.shares:
                progress.extend(self._finish(step, runner.wait(), started))
        self._give_out(progress)

    def _next_step(self, progress: deque[SequenceProgress]) -> Step | None:
        """Returns the next step, empty if there are only updates to send; None when closing."""
        with self._changed:
            if not self._has_something(progress):
                self._changed.wait_for(lambda: self._has_something(progress))
                self._changed.wait_for(lambda: self._closing, _GATHER_S)
            self._end_abandoned()
            progress.extend(self._cancelled)
            self._cancelled.clear()
            progress.extend(map(_too_late, self._scheduler.expire(time.monotonic())))
            if self._closing:
                return None
            step = self._scheduler.schedule()
            assert step.shares or progress or not self._scheduler.has_work, "nothing can run"
            return step

    def _end_abandoned(self) -> None:
        while self._abandoned:
            self.cancel(self._abandoned.popleft())

    def _has_something(self, progress: deque[SequenceProgress]) -> bool:
        return bool(self._closing or self._scheduler.has_work or self._cancelled or progress)

    def _finish(self, step: Step, scores: Scores, started: float) -> list[SequenceProgress]:
        draws = [draw for share in step.shares for draw in share.draws]
        sampled = scores.sample(draws)
        is_reported = any(draw.is_reported for draw in draws)
        reports = scores.report(draws, sampled) if is_reported else ()
        with self._changed:
            self._steps.add(step, time.perf_counter() - started)
            return self._scheduler.commit(step, sampled, reports)

    def _give_out(self, progress: deque[SequenceProgress]) -> None:
        while progress:
            one = progress.popleft()
            live = self._live.get(one.sequence.request_id, [])
            answer = next((a for a in live if a.sequence is one.sequence), None)
            if answer is None:
                continue  # it was ended by a stop string, a step ago
            update = answer.output.update(one)
            if update.is_final:
                with self._changed:
                    update = replace(update, num_unfinished=self._end(answer, live, update))
            self._send(answer, update)

    def _end(self, answer: Answer, live: list[Answer], update: Update) -> int:
        """Ends an answer, and all of its request after an error; returns how many others go on."""
        ended = list(live) if update.error is not None else [answer]
        for one in ended:
            live.remove(one)
            self._scheduler.finish(one.sequence, FinishReason.STOP)
        if not live:
            del self._live[update.request_id]
        return len(live)

    def _send(self, answer: Answer, update: Update) -> None:
        if not answer.output.send(update) and not update.is_last:  # else the id may be another's
            self.cancel(update.request_id)

    def _end_all(self, error: LLMasOSError) -> None:
        with self._changed:
            self._error = error
            live = list(self._live.values())
            for answer in (answer for answers in live for answer in answers):
                self._scheduler.finish(answer.sequence, FinishReason.ABORT)
            self._live.clear()
        for first, *_ in live:
            self._send(first, first.output.update(SequenceProgress(first.sequence, error=error)))


def _too_late(sequence: Sequence) -> SequenceProgress:
    return SequenceProgress(sequence, error=deadline_error(sequence))
