"""Takes the requests that come by one way: from Triton, or from another model of the server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial

from llmasos.contract.engine import ENGINE_OUTPUTS
from llmasos.contract.ensemble import DETOKENIZER_INPUTS, OUTPUTS_PARAMETER
from llmasos.contract.text_tensors import ENGINE_NAMES
from llmasos.errors import LLMasOSError
from llmasos.text.source_texts import EncodedPrompt

from llmasos_runtime.sequences.request import Request
from llmasos_runtime.triton.backend import (
    FINAL,
    Backend,
    BackendRequest,
    ResponseSender,
    error_response,
)
from llmasos_runtime.triton.engine_request import ENGINE_TABLE, ENSEMBLE_TABLE, read_request
from llmasos_runtime.triton.fields import Fields
from llmasos_runtime.triton.output_tensors import OutputTensors
from llmasos_runtime.triton.parameters import read_parameters, refuse_meant_inputs
from llmasos_runtime.triton.reply import Reply
from llmasos_runtime.triton.running_requests import Running, RunningRequests
from llmasos_runtime.triton.served_engine import ServedEngine
from llmasos_runtime.triton.text_prompts import TextPrompts

_ORDER = tuple(tensor.name for tensor in ENGINE_OUTPUTS)
_BETWEEN_MODELS = {tensor.name for tensor in DETOKENIZER_INPUTS}
_log = logging.getLogger(__name__)


class RequestAcceptor:
    """Reads each request, and begins it or answers why not.

    backend: makes the responses of this way. numbers: the ids of requests, one for all ways.
    submit: begins a request. A request with text is tokenized in a thread for prompts, and answered
    with text. default_deadline_ms: of a request that names none. stream_interval: see Reply.
    """

    def __init__(
        self,
        backend: Backend,
        engine: ServedEngine,
        prompts: TextPrompts,
        running: RunningRequests,
        *,
        numbers: Iterator[int],
        submit: Callable[[Request, Running], None],
        default_deadline_ms: int,
        stream_interval: int | None,
    ) -> None:
        self._backend = backend
        self._engine = engine
        self._prompts = prompts
        self._running = running
        self._numbers = numbers
        self._submit = submit
        self._default_deadline_ms = default_deadline_ms
        self._stream_interval = stream_interval
        self._tensors = OutputTensors(backend, block_size=engine.block_size)
        self._text_tensors = OutputTensors(backend, block_size=engine.block_size, has_empty=False)

    def accept(self, request: BackendRequest) -> None:
        """Accepts or refuses a request; responses follow from other threads. It does not raise."""
        sender = request.get_response_sender()
        with self._answering_errors(sender):
            self._accept(request, sender)

    @contextmanager
    def _answering_errors(self, sender: ResponseSender) -> Generator[None]:
        """Answers a request that is refused before its reply exists."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - one bad request must not end the model
            sender.send(error_response(self._backend, answerable(error)), flags=FINAL)

    def _accept(self, request: BackendRequest, sender: ResponseSender) -> None:
        fields = Fields.of(request, ENGINE_TABLE)
        if fields.boolean("from_ensemble"):
            fields = fields.seen_as(ENSEMBLE_TABLE)
        if fields.boolean("stop"):
            for_s = (fields.integer("deadline_ms") or 0) / 1e3
            for found in self._running.stop(request.request_id(), for_s=for_s):
                self._engine.cancel(found)
            sender.send(self._tensors.nothing(_requested_outputs(request)), flags=FINAL)
            return
        fields = fields.renamed(ENGINE_NAMES)
        if fields.has("text_input") or fields.has("messages"):
            fields = fields.seen_as(ENSEMBLE_TABLE)
            self._prompts.run(fields, partial(self._encode, request, sender, fields))
        else:
            self._start(request, sender, fields)

    def _encode(self, request: BackendRequest, sender: ResponseSender, fields: Fields) -> None:
        with self._answering_errors(sender):
            refuse_meant_inputs(request.parameters())
            self._start(request, sender, fields, prompt=self._prompts.encode(fields))

    def _start(
        self,
        request: BackendRequest,
        sender: ResponseSender,
        fields: Fields,
        *,
        prompt: EncodedPrompt | None = None,
    ) -> None:
        """prompt: the tokens of the request's text; None if it holds tokens itself."""
        wanted = read_request(
            fields,
            request_id=str(next(self._numbers)),
            prompt=prompt,
            decode=partial(self._engine.tokenizer.decode, skip_special_tokens=False),
            encode=partial(self._engine.tokenizer.encode, add_special_tokens=False),
            eos_token_ids=self._engine.plan.eos_token_ids,
            max_seq_len=self._engine.plan.limits.max_seq_len,
            default_deadline_ms=self._default_deadline_ms,
        )
        requested = _requested_outputs(request)
        if prompt is not None:
            requested = tuple(name for name in requested if name not in _BETWEEN_MODELS)
        reply = Reply(
            self._backend,
            self._tensors if prompt is None else self._text_tensors,
            sender,
            requested=requested,
            interval=self._stream_interval,
            has_pieces=wanted.streams,
        )
        running = Running(
            client_id=request.request_id(),
            is_passed_on=wanted.streams and bool(fields.boolean("from_ensemble")),
            reply=reply,
        )
        self._submit(wanted.request, running)


def answerable(error: Exception) -> LLMasOSError:
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
