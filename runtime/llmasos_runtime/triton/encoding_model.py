"""Triton's `engine` model of a plan that sees each text once: one response for each request."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from llmasos.contract.encoder import ENCODER_INPUTS
from llmasos.encoding.results import Classification, FilledMask, LabelledSpan
from llmasos.encoding.transport import EmbedOptions, Encoded, TextOptions, Vectors
from llmasos.errors import EngineStoppedError, InvalidRequestError, LLMasOSError
from numpy.typing import NDArray

from llmasos_runtime.encoding.service import EncodingService
from llmasos_runtime.encoding.text_engine import TextEngine
from llmasos_runtime.triton.backend import Backend, BackendRequest, error_response
from llmasos_runtime.triton.encoding_metrics import MODEL, EncodingMetrics
from llmasos_runtime.triton.ending_sender import EndingSender
from llmasos_runtime.triton.fields import Fields
from llmasos_runtime.triton.request_acceptor import answerable

_TOKENIZERS = 2
"""Threads that tokenize; the library has threads of its own for long lists."""
_log = logging.getLogger(__name__)
Values = dict[str, NDArray[Any]]


class EncodingModel:
    """Tokenizes in threads of its own, watches for clients that have gone, and replies.

    Every request gets exactly one response.
    """

    def __init__(
        self,
        backend: Backend,
        engine: TextEngine,
        *,
        check_period_s: float,
        die: Callable[[], object],
        served: str | None = None,
    ) -> None:
        """die: ends this process; a server whose engine has stopped must not look healthy.

        served: the name under which the model is served, for the metrics; None for the only one.
        """
        self._backend = backend
        self._engine = engine
        self._service = EncodingService(engine)
        self._table = {tensor.name: tensor for tensor in ENCODER_INPUTS[engine.plan.task]}
        self._metrics = EncodingMetrics(backend, model=served or MODEL)
        self._metrics.report(engine.stats())
        self._die = die
        self._running: dict[EndingSender, Future[Any]] = {}
        self._pool = ThreadPoolExecutor(_TOKENIZERS, thread_name_prefix="tokenizer")
        self._closed = threading.Event()
        self._watcher = threading.Thread(
            target=self._watch, args=(check_period_s,), name="cancellation", daemon=True
        )
        self._watcher.start()

    def execute(self, requests: Sequence[BackendRequest]) -> list[None]:
        """Accepts requests; their responses follow from other threads."""
        for request in requests:
            sender = EndingSender(request.get_response_sender())
            self._pool.submit(self._begin, request, sender)
        return [None] * len(requests)

    def close(self) -> None:
        """Ends every request, then the engine."""
        self._pool.shutdown()
        self._engine.close()
        self._closed.set()
        self._watcher.join()

    def _begin(self, request: BackendRequest, sender: EndingSender) -> None:
        """In a thread of the pool, which has nobody to raise to."""
        try:
            future, values_of = self._start(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, this request alone fails
            self._refuse(sender, error)
            return
        wanted = set(request.requested_output_names())
        self._running[sender] = future

        def done(found: Future[Encoded[Any]]) -> None:
            self._running.pop(sender, None)
            self._finish(sender, found, values_of, wanted)

        future.add_done_callback(done)

    def _start(
        self, request: BackendRequest
    ) -> tuple[Future[Encoded[Any]], Callable[[Any], Values]]:
        """Returns the result to come, and what makes output tensors of it."""
        arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        fields = Fields(arrays, self._table)
        if not fields.has("text_input") and "text_input" not in arrays:
            raise InvalidRequestError("text_input is needed: the texts, one in each element")
        options = TextOptions(
            truncate=bool(fields.boolean("truncate")),
            priority=fields.integer("priority") or 0,
            deadline_ms=fields.integer("deadline_ms"),
        )
        texts = fields.texts("text_input")
        match self._engine.plan.task:
            case "embed":
                embed = EmbedOptions(
                    prompt=fields.text("prompt") if "prompt" in arrays else None,
                    prompt_name=fields.text("prompt_name") or None,
                    dimensions=fields.integer("dimensions"),
                )
                return self._service.embed(texts, embed, options), _vectors
            case "classify":
                return self._service.classify(_paired(texts, fields), options), _scores
            case "classify_tokens":
                aggregation: Any = fields.text("aggregation") or "none"
                return self._service.classify_tokens(texts, aggregation, options), _spans
            case _:
                top_k = fields.integer("top_k")
                return self._service.fill_mask(texts, 5 if top_k is None else top_k, options), _gaps

    def _finish(
        self,
        sender: EndingSender,
        found: Future[Encoded[Any]],
        values_of: Callable[[Any], Values],
        wanted: set[str],
    ) -> None:
        try:
            if found.cancelled():
                raise EngineStoppedError("the client has gone")
            encoded = found.result()
            values = values_of(encoded.result)
            values["num_input_tokens"] = np.array([encoded.num_tokens], np.int32)
            make = self._backend.Tensor
            tensors = [make(name, value) for name, value in values.items() if name in wanted]
            sender.finish(self._backend.InferenceResponse(output_tensors=tensors))
        except Exception as error:  # noqa: BLE001 - one request's trouble must not end the others
            self._refuse(sender, error)

    def _refuse(self, sender: EndingSender, error: Exception) -> None:
        refusal: LLMasOSError = answerable(error)
        try:
            sender.finish(error_response(self._backend, refusal))
        except Exception:  # noqa: BLE001 - nobody is there to be told
            _log.exception("a response could not be sent")

    def _watch(self, period_s: float) -> None:
        while not self._closed.wait(period_s):
            try:
                for sender, future in list(self._running.items()):
                    if sender.is_cancelled():
                        future.cancel()
                self._metrics.report(self._engine.stats())
            except Exception:  # noqa: BLE001 - the watch must go on, or nothing is cancelled
                _log.exception("the requests could not be looked at")
            if self._engine.has_failed:
                _log.critical("the engine has stopped; ending its process")
                self._die()


def _paired(texts: list[str], fields: Fields) -> list[Any]:
    """Returns texts, or each with its pair; one text goes with all pairs."""
    others = fields.texts("pair_input")
    if not others:
        return list(texts)
    if len(texts) == 1:
        texts = texts * len(others)
    if len(texts) != len(others):
        raise InvalidRequestError(
            f"pair_input has {len(others)} texts, text_input {len(texts)}: one, or as many"
        )
    return list(zip(texts, others, strict=True))


def _vectors(vectors: Vectors) -> Values:
    return {"embeddings": np.ascontiguousarray(vectors)}


def _scores(found: list[Classification]) -> Values:
    labels = list(found[0].scores) if found else []
    rows = [[one.scores[label] for label in labels] for one in found]
    return {
        "scores": np.array(rows, np.float32).reshape(len(rows), len(labels)),
        "labels": _strings(labels),
    }


def _spans(found: list[list[LabelledSpan]]) -> Values:
    return {"results": _json([[dataclasses.asdict(one) for one in spans] for spans in found])}


def _gaps(found: list[list[list[FilledMask]]]) -> Values:
    plain = [[[dataclasses.asdict(one) for one in gap] for gap in gaps] for gaps in found]
    return {"results": _json(plain)}


def _json(values: Sequence[object]) -> NDArray[Any]:
    return _strings([json.dumps(value, ensure_ascii=False) for value in values])


def _strings(texts: Sequence[str]) -> NDArray[Any]:
    return np.array([text.encode() for text in texts], np.object_)
