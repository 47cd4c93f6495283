"""Triton's `engine` model: accepts requests, watches for cancellation, and replies."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial

from llmasos.contract.engine import ENGINE_OUTPUTS
from llmasos.contract.ensemble import DETOKENIZER_INPUTS
from llmasos.errors import EngineStoppedError

from llmasos_runtime.sequences.request import Request, Update
from llmasos_runtime.triton.abandoned_streams import AbandonedStreams
from llmasos_runtime.triton.backend import (
    Backend,
    BackendRequest,
    ResponseSender,
)
from llmasos_runtime.triton.engine_metrics import MODEL, EngineMetrics
from llmasos_runtime.triton.forwarding.plain_backend import PlainBackend
from llmasos_runtime.triton.request_acceptor import RequestAcceptor, answerable
from llmasos_runtime.triton.running_requests import Running, RunningRequests
from llmasos_runtime.triton.served_engine import ServedEngine
from llmasos_runtime.triton.text_prompts import TextPrompts
from llmasos_runtime.triton.update_queue import UpdateQueue, Updates

_ORDER = tuple(tensor.name for tensor in ENGINE_OUTPUTS)
_BETWEEN_MODELS = {tensor.name for tensor in DETOKENIZER_INPUTS}
_LAST_WORDS_S = 1.0
"""Time to tell clients that the engine has stopped before its process ends."""
_log = logging.getLogger(__name__)


class EngineModel:
    """Handles requests on Triton's thread, and cancellation and updates on threads of its own.

    Each request gets an id of ours, since clients may use one id twice. Every accepted request gets
    exactly one response with the final flag.
    """

    def __init__(
        self,
        backend: Backend,
        engine: ServedEngine,
        *,
        check_period_s: float,
        default_deadline_ms: int,
        die: Callable[[], object],
        stream_interval: int | None = None,
        num_restarts: int = 0,
        served: str | None = None,
        make_queue: Callable[[Callable[[Sequence[Update]], object]], Updates] = UpdateQueue,
        count_pieces: Callable[[Sequence[int]], Sequence[int]] | None = None,
    ) -> None:
        """stream_interval: see Reply. make_queue: what hands updates over to a thread that sends.
        count_pieces: of streams, that the detokenizer got; without it, a stream of the ensemble
        whose client has gone is not ended. num_restarts: of the server, for the metrics.
        served: the name under which the model is served, for the metrics; None for the only one.
        die: ends this process; a server whose engine has stopped must not look healthy.
        """
        self._engine = engine
        self._check_period_s = check_period_s
        self._die = die
        self._prompts = TextPrompts.of_plan(engine.tokenizer, engine.plan)
        self._metrics = EngineMetrics(backend, model=served or MODEL, num_restarts=num_restarts)
        numbers = itertools.cycle(range(1 << 31))  # of INT32
        self._running = RunningRequests()
        acceptor = partial(
            RequestAcceptor,
            engine=engine,
            prompts=self._prompts,
            running=self._running,
            numbers=numbers,
            submit=self._submit,
            default_deadline_ms=default_deadline_ms,
            stream_interval=stream_interval,
        )
        self._of_triton, self._of_models = acceptor(backend), acceptor(PlainBackend())
        self._updates = make_queue(self._on_updates)
        self._has_stopped = False
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="cancellation", daemon=True)
        self._watcher.start()
        self._abandoned: AbandonedStreams | None = None
        if count_pieces is not None:
            self._abandoned = AbandonedStreams(
                count_pieces,
                sent=self._running.num_sent,
                cancel=lambda number: engine.cancel(str(number)),
            )
            self._abandoned.start()

    def execute(self, requests: Sequence[BackendRequest]) -> None:
        """Accepts or refuses each request of Triton; responses follow from other threads."""
        for request in requests:
            self._of_triton.accept(request)

    def accept_forwarded(self, request: BackendRequest) -> None:
        """Accepts or refuses a request that another model of the server passes on."""
        self._of_models.accept(request)

    def end_forwarded(self, sender: ResponseSender) -> None:
        """Ends the request of a sender whose client has gone."""
        for request_id, running in self._running.items():
            if running.reply.is_sent_by(sender):
                self._engine.cancel(request_id)

    def close(self) -> None:
        """Ends every request, then the engine."""
        self._closed.set()
        if self._abandoned is not None:
            self._abandoned.close()
        self._prompts.close()
        self._watcher.join()
        self._engine.close()
        self._updates.close()

    def _submit(self, request: Request, running: Running) -> None:
        """Hands a request to the engine; a refusal is sent by its reply, which is watched."""
        # Known before it is submitted: its updates may come before submit returns.
        self._running.add(request.request_id, running)
        self._metrics.requests.begin(request.request_id)
        try:
            self._engine.submit(request, self._updates.put)
        except Exception as error:  # noqa: BLE001 - whatever it is, this request alone fails
            self._running.remove(request.request_id)
            refusal = answerable(error)
            running.reply.update([last := Update(request_id=request.request_id, error=refusal)])
            self._metrics.requests.count([last])
            self._has_stopped = self._has_stopped or isinstance(refusal, EngineStoppedError)
        if self._running.is_stopped(running.client_id):
            self._engine.cancel(request.request_id)

    def _on_updates(self, updates: Sequence[Update]) -> None:
        """updates: of one request."""
        last = updates[-1]
        running = self._running.get(last.request_id)
        if last.is_last:
            self._running.remove(last.request_id)
        try:
            running.reply.update(updates)
        except Exception:  # noqa: BLE001 - one client's trouble must not stop the others
            _log.exception("a response could not be sent")
            self._engine.cancel(last.request_id)
        self._metrics.requests.count(updates)
        if isinstance(last.error, EngineStoppedError):
            self._has_stopped = True

    def _watch(self) -> None:
        while not self._closed.wait(self._check_period_s):
            try:
                self._look()
            except Exception:  # noqa: BLE001 - the watch must go on, or nothing is cancelled
                _log.exception("the requests could not be looked at")
            if self._has_stopped and not self._closed.is_set():
                _log.critical("the engine has stopped; ending its process")
                self._updates.flush(_LAST_WORDS_S)
                self._die()

    def _look(self) -> None:
        """Cancels requests whose client has gone, and updates the metrics."""
        for request_id, running in self._running.items():
            if running.reply.is_cancelled():
                self._engine.cancel(request_id)
        self._metrics.report(self._engine.stats())
