"""Triton's `engine` model: accepts requests, watches for cancellation, and replies."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from llmasos.contract.engine import ENGINE_OUTPUTS
from llmasos.contract.ensemble import DETOKENIZER_INPUTS, OUTPUTS_PARAMETER
from llmasos.errors import EngineStoppedError, InvalidRequestError, LLMasOSError

from llmasos_runtime.engine.metrics import EngineStats
from llmasos_runtime.sequences.request import Request, Update
from llmasos_runtime.triton.abandoned_streams import AbandonedStreams
from llmasos_runtime.triton.backend import (
    FINAL,
    Backend,
    BackendRequest,
    ResponseSender,
    error_response,
)
from llmasos_runtime.triton.engine_metrics import EngineMetrics
from llmasos_runtime.triton.engine_request import ENGINE_TABLE, ENSEMBLE_TABLE, read_request
from llmasos_runtime.triton.fields import Fields
from llmasos_runtime.triton.parameters import read_parameters
from llmasos_runtime.triton.reply import OutputTensors, Reply

if TYPE_CHECKING:
    from llmasos.engine.plan import EnginePlan
    from llmasos.text.tokenizer import Tokenizer

_MAX_STOPPED_EARLY = 1024
_MAX_ID = 1024
_ORDER = tuple(tensor.name for tensor in ENGINE_OUTPUTS)
_BETWEEN_MODELS = {tensor.name for tensor in DETOKENIZER_INPUTS}
_log = logging.getLogger(__name__)


class ServedEngine(Protocol):
    """The methods of an engine that this model uses."""

    @property
    def plan(self) -> EnginePlan: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def block_size(self) -> int: ...
    def submit(self, request: Request, sink: Callable[[Update], None]) -> None: ...
    def cancel(self, request_id: str) -> bool: ...
    def stats(self) -> EngineStats: ...
    def close(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class _Running:
    """A request that has no last response yet.

    client_id: the id that its client gave it. is_passed_on: True for a stream of the ensemble.
    """

    client_id: str
    is_passed_on: bool
    reply: Reply


class EngineModel:
    """Handles requests on Triton's thread, updates on the engine's, and cancellation on its own.

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
        stream_interval: int = 1,
        count_pieces: Callable[[Sequence[int]], Sequence[int]] | None = None,
    ) -> None:
        """stream_interval: tokens of a response of a stream; the first response has one.

        count_pieces: of streams, that the detokenizer got; without it, a stream of the ensemble
        whose client has gone is not ended.
        die: ends this process; a server whose engine has stopped must not look healthy.
        """
        self._backend = backend
        self._engine = engine
        self._check_period_s = check_period_s
        self._default_deadline_ms = default_deadline_ms
        self._die = die
        self._stream_interval = stream_interval
        self._tensors = OutputTensors(backend, block_size=engine.block_size)
        self._metrics = EngineMetrics(backend)
        self._numbers = itertools.cycle(range(1 << 31))  # of INT32
        self._running: dict[str, _Running] = {}
        self._stopped_early: dict[str, float] = {}
        self._has_stopped = False
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="cancellation", daemon=True)
        self._watcher.start()
        self._abandoned: AbandonedStreams | None = None
        if count_pieces is not None:
            self._abandoned = AbandonedStreams(
                count_pieces, sent=self._num_sent, cancel=lambda number: engine.cancel(str(number))
            )
            self._abandoned.start()

    def execute(self, requests: Sequence[BackendRequest]) -> None:
        """Accepts or refuses each request; responses follow from other threads."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                self._accept(request, sender)
            except Exception as error:  # noqa: BLE001 - one bad request must not end the model
                sender.send(error_response(self._backend, _answerable(error)), flags=FINAL)

    def close(self) -> None:
        """Ends every request, then the engine."""
        self._closed.set()
        if self._abandoned is not None:
            self._abandoned.close()
        self._watcher.join()
        self._engine.close()

    def _accept(self, request: BackendRequest, sender: ResponseSender) -> None:
        fields = Fields.of(request, ENGINE_TABLE)
        if fields.boolean("from_ensemble"):
            fields = fields.seen_as(ENSEMBLE_TABLE)
        if fields.boolean("stop"):
            self._stop(request.request_id(), for_s=(fields.integer("deadline_ms") or 0) / 1e3)
            sender.send(self._tensors.nothing(_requested_outputs(request)), flags=FINAL)
            return
        wanted = read_request(
            fields,
            request_id=str(next(self._numbers)),
            decode=partial(self._engine.tokenizer.decode, skip_special_tokens=False),
            eos_token_ids=self._engine.plan.eos_token_ids,
            max_seq_len=self._engine.plan.limits.max_seq_len,
            default_deadline_ms=self._default_deadline_ms,
        )
        reply = Reply(
            self._backend,
            self._tensors,
            sender,
            requested=_requested_outputs(request),
            interval=self._stream_interval if wanted.streams else None,
        )
        running = _Running(
            client_id=request.request_id(),
            is_passed_on=wanted.streams and bool(fields.boolean("from_ensemble")),
            reply=reply,
        )
        self._submit(wanted.request, running)

    def _submit(self, request: Request, running: _Running) -> None:
        """Hands a request to the engine; a refusal is sent by its reply, which is watched."""
        # Known before it is submitted: its updates may come before submit returns.
        self._running[request.request_id] = running
        try:
            self._engine.submit(request, self._on_update)
        except Exception as error:  # noqa: BLE001 - whatever it is, this request alone fails
            del self._running[request.request_id]
            refusal = _answerable(error)
            running.reply.update(Update(request_id=request.request_id, error=refusal))
            self._has_stopped = self._has_stopped or isinstance(refusal, EngineStoppedError)
        if self._stopped_early.pop(running.client_id, 0.0) > time.monotonic():
            self._engine.cancel(request.request_id)

    def _on_update(self, update: Update) -> None:
        running = self._running[update.request_id]
        if update.is_final:
            del self._running[update.request_id]
        try:
            running.reply.update(update)
        except Exception:  # noqa: BLE001 - one client's trouble must not stop the engine's thread
            _log.exception("a response could not be sent")
            self._engine.cancel(update.request_id)
        if isinstance(update.error, EngineStoppedError):
            self._has_stopped = True

    def _stop(self, client_id: str, *, for_s: float) -> None:
        """Ends the requests of this id, and one that comes within so many seconds.

        A client may give up a request of the ensemble before its text has become tokens.
        """
        if not client_id:
            raise InvalidRequestError("stop needs the id of the request to end")
        if len(client_id) > _MAX_ID:
            raise InvalidRequestError(
                f"the id of a request to stop has {len(client_id)} characters, at most {_MAX_ID}"
            )
        found = [i for i, running in list(self._running.items()) if running.client_id == client_id]
        for request_id in found:
            self._engine.cancel(request_id)
        if for_s and not found:
            while len(self._stopped_early) >= _MAX_STOPPED_EARLY:
                del self._stopped_early[next(iter(self._stopped_early))]
            self._stopped_early[client_id] = time.monotonic() + for_s

    def _num_sent(self) -> dict[int, int]:
        """Number of responses sent by each stream of the ensemble."""
        running = list(self._running.items())
        return {int(i): one.reply.num_sent for i, one in running if one.is_passed_on}

    def _watch(self) -> None:
        while not self._closed.wait(self._check_period_s):
            try:
                self._look()
            except Exception:  # noqa: BLE001 - the watch must go on, or nothing is cancelled
                _log.exception("the requests could not be looked at")
            if self._has_stopped and not self._closed.is_set():
                _log.critical("the engine has stopped; ending its process")
                self._die()

    def _look(self) -> None:
        """Cancels requests whose client has gone, and updates the metrics."""
        for request_id, running in list(self._running.items()):
            if running.reply.is_cancelled():
                self._engine.cancel(request_id)
        self._metrics.report(self._engine.stats())


def _answerable(error: Exception) -> LLMasOSError:
    """Returns an error that a client may see; one that is not ours is a fault, and logged."""
    if isinstance(error, LLMasOSError):
        return error
    _log.error("a request failed", exc_info=error)
    return LLMasOSError(f"internal error: {type(error).__name__}: {error}")


def _requested_outputs(request: BackendRequest) -> tuple[str, ...]:
    """The outputs that the client asks for, in the contract's order: some clients rely on it.

    An ensemble asks for all that it maps; its request parameter `outputs` lists those wanted.
    """
    wanted = set(request.requested_output_names())
    listed = read_parameters(request.parameters()).get(OUTPUTS_PARAMETER)
    if isinstance(listed, str):
        wanted &= {*listed.split(","), *_BETWEEN_MODELS}
    return tuple(name for name in _ORDER if name in wanted)
