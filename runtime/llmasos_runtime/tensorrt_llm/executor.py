"""Runs requests with TensorRT-LLM, which schedules and batches them itself.

End conditions, text and counts are computed here from the tokens alone, as for any other target.
It has never run with the real package: tests use a fake.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Sequence as SequenceOf
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from llmasos.errors import (
    EngineStoppedError,
    InvalidRequestError,
    LLMasOSError,
    QueueFullError,
)
from llmasos.outputs import FinishReason

from llmasos_runtime.engine.closed_at_exit import close_at_exit
from llmasos_runtime.engine.metrics import EngineStats
from llmasos_runtime.engine.request_output import Answer, RequestOutput, deadline_error
from llmasos_runtime.engine.step_log import StepRecord
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import SequenceProgress
from llmasos_runtime.tensorrt_llm.completion import next_tokens
from llmasos_runtime.tensorrt_llm.failures import failure_of
from llmasos_runtime.tensorrt_llm.iteration_stats import LatestStats
from llmasos_runtime.tensorrt_llm.sampling import sampling_params

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Live:
    """A request that has no final update yet.

    result: TensorRT-LLM's result, once the request was passed on. failure: why its task is being
    cancelled, unless the reason is an abort.
    """

    sequence: Sequence
    output: RequestOutput
    params: Any
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    result: Any = None
    is_cancelled: bool = False
    failure: LLMasOSError | None = None


class TensorRTLLMExecutor:
    """The counterpart of `Executor` over `tensorrt_llm.LLM`. Every request gets one final update.

    One thread has an event loop, as the library needs it; each request is a task of that loop, and
    the end of the task sends the final update. The lock guards only the table of requests.
    """

    def __init__(self, library: Any, llm: Any, *, max_batch_size: int, max_queue_size: int) -> None:
        """llm: a `tensorrt_llm.LLM`, which is shut down when this is closed."""
        self._library = library
        self._llm = llm
        self._max_batch_size = max_batch_size
        self._capacity = max_batch_size + max_queue_size
        self._lock = threading.Lock()
        self._live: dict[str, _Live] = {}
        self._error: LLMasOSError | None = None
        self._stats = LatestStats()
        self._num_tokens = 0
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()
        close_at_exit(self)

    def submit(self, answers: SequenceOf[Answer], *, is_admitted: bool = False) -> None:
        """Queues a request; raises UnsupportedFieldError, EngineStoppedError, QueueFullError,
        InvalidRequestError. is_admitted: see `Executor.submit`.
        """
        sequence, output = answers[0]  # several are refused with the other fields
        live = _Live(sequence, output, sampling_params(self._library, sequence))
        with self._lock:
            if self._error is not None:
                raise self._error
            if sequence.request_id in self._live:
                raise InvalidRequestError(
                    f"request_id {sequence.request_id!r} is in use by a running request"
                )
            if len(self._live) >= self._capacity and not is_admitted:
                raise QueueFullError(
                    f"the queue is full: {len(self._live)} requests run or wait, "
                    f"at most {self._capacity}",
                    hint="try again later",
                )
            self._live[sequence.request_id] = live
            self._loop.call_soon_threadsafe(self._start, live)

    def cancel(self, request_id: str) -> bool:
        """Ends a request; False if it has ended, is ending, or never existed."""
        with self._lock:
            live = self._live.get(request_id)
            if live is None or live.is_cancelled:
                return False
            live.is_cancelled = True
            self._loop.call_soon_threadsafe(self._cancel, live)
            return True

    def abandon(self, request_id: str) -> None:
        """Ends a request a little later. It takes no lock, so a destructor may call it."""
        with suppress(RuntimeError):  # the loop is closed, and with it every request
            self._loop.call_soon_threadsafe(self.cancel, request_id)

    def stats(self) -> EngineStats:
        """Requests are counted here; the library reports its KV cache twice a second."""
        with self._lock:
            num_live, newest = len(self._live), self._stats.newest
            num_running = min(num_live, self._max_batch_size)
            return EngineStats(
                num_running=num_running,
                num_waiting=num_live - num_running,
                num_blocks=newest.num_blocks,
                num_free_blocks=newest.num_free_blocks,
                num_reused_blocks=newest.num_reused_blocks,
                num_preemptions=0,
                # Whoever looks whether it still works sees each token, between two reports too.
                num_steps=newest.num_steps + self._num_tokens,
                max_running=self._max_batch_size,
                cpu_bytes=newest.cpu_bytes,
                gpu_bytes=newest.gpu_bytes,
                pinned_bytes=newest.pinned_bytes,
                time_us=time.time_ns() // 1000,
            )

    def step_log(self) -> tuple[StepRecord, ...]:
        """Returns nothing: TensorRT-LLM does not report its steps."""
        return ()

    def close(self) -> None:
        """Stops; unfinished requests get an EngineStoppedError. May be called again."""
        self._stop(EngineStoppedError("the engine is closed"))
        with suppress(RuntimeError):  # closed already
            self._loop.call_soon_threadsafe(self._closing.set)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
            self._llm.shutdown()  # here, as a program that ends gives no thread for it any more
        except Exception:  # noqa: BLE001 - the boundary: nothing is left that could be told
            _log.exception("TensorRT-LLM could not be shut down")
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _serve(self) -> None:
        watcher = self._loop.create_task(self._stats.follow(self._llm, lambda: self._num_tokens))
        await self._closing.wait()
        watcher.cancel()
        tasks = [watcher, *(live.task for live in self._live.values() if live.task is not None)]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, live: _Live) -> None:
        live.task = self._loop.create_task(self._answer(live))
        live.task.add_done_callback(partial(self._ended, live))
        if live.sequence.deadline < math.inf:
            live.timer = self._loop.call_at(live.sequence.deadline, self._too_late, live)
        if self._error is not None:
            self._cancel(live, self._error)

    def _cancel(self, live: _Live, failure: LLMasOSError | None = None) -> None:
        assert live.task is not None, "what cancels comes after what starts"
        live.failure = live.failure or failure
        live.task.cancel()

    def _too_late(self, live: _Live) -> None:
        self._cancel(live, deadline_error(live.sequence))

    async def _answer(self, live: _Live) -> None:
        """Sends the tokens one by one until one of them, or the text, ends the answer."""
        sequence = live.sequence
        live.result = self._llm.generate_async(
            inputs=list(sequence.token_ids), sampling_params=live.params, streaming=True
        )
        async for output in live.result:
            sequence.num_cached_tokens = getattr(output, "cached_tokens", None) or 0
            for token_id in next_tokens(output, sequence):
                sequence.append(token_id)
                self._num_tokens += 1
                progress = SequenceProgress(sequence, (token_id,), sequence.finish_reason)
                if self._give(live, progress):
                    return
        raise LLMasOSError("TensorRT-LLM ended the answer without saying why")

    def _ended(self, live: _Live, task: asyncio.Task[None]) -> None:
        if live.timer is not None:
            live.timer.cancel()
        if live.result is not None and not live.result.finished:
            with suppress(Exception):  # it is gone with the library that had it
                live.result.abort()
        error = None if task.cancelled() else task.exception()
        failure = live.failure if error is None else failure_of(error, self._library)
        if isinstance(failure, EngineStoppedError):
            self._stop(failure)
        if failure is not None:
            self._give(live, SequenceProgress(live.sequence, error=failure))
        elif task.cancelled():
            self._give(live, SequenceProgress(live.sequence, finish_reason=FinishReason.ABORT))

    def _stop(self, error: LLMasOSError) -> None:
        """Refuses new requests and ends those in progress."""
        with self._lock:
            if self._error is None:
                self._error = error
            for live in self._live.values():
                if live.task is not None:  # else it is found out when it starts
                    self._loop.call_soon_threadsafe(self._cancel, live, error)

    def _give(self, live: _Live, progress: SequenceProgress) -> bool:
        """Sends an update unless the request has ended; returns whether it has ended now."""
        request_id = live.sequence.request_id
        if self._live.get(request_id) is not live:
            return True
        update = live.output.update(progress)
        if update.is_final:
            with self._lock:
                del self._live[request_id]
        if not live.output.send(update) and not update.is_final:  # else the id may be another's
            self.cancel(request_id)
        return update.is_final
