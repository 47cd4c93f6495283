"""The responses to one request of the engine.

Triton's ensemble sends a response only when every output that it maps has come, and a client
that lists no outputs asks for all of them. So each response carries all requested outputs; the
empty ones are made once and sent again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from llmasos.contract.engine import ENGINE_OUTPUTS
from llmasos.contract.tensor import DataType, Tensor
from llmasos.errors import LLMasOSError
from llmasos.outputs import Usage
from numpy.typing import NDArray

from llmasos_runtime.kv_cache.blocks import blocks_for
from llmasos_runtime.sequences.request import Update
from llmasos_runtime.triton.backend import FINAL, Backend, ResponseSender, error_response

_NUMPY: dict[DataType, Any] = {
    DataType.STRING: np.object_,
    DataType.UINT8: np.uint8,
    DataType.INT32: np.int32,
    DataType.INT64: np.int64,
    DataType.FP32: np.float32,
}


_LOG_PROBS = "output_log_probs"


class OutputTensors:
    """Makes output tensors, and keeps those that are the same in every response."""

    def __init__(self, backend: Backend, *, block_size: int) -> None:
        """block_size: tokens of one block of the engine's KV cache."""
        self._backend = backend
        self._block_size = block_size
        self._nothing = {t.name: backend.Tensor(t.name, _nothing(t)) for t in ENGINE_OUTPUTS}

    def of(self, update: Update, requested: Collection[str]) -> list[object]:
        """Returns the requested outputs of an update; only the last has usage and reasons."""
        values = _values(update, self._block_size)
        if _LOG_PROBS in requested:  # as many zeros as tokens: some clients read them unasked
            values[_LOG_PROBS] = np.zeros((1, 1, len(update.token_ids)), np.float32)
        return [
            self._backend.Tensor(name, values[name]) if name in values else self._nothing[name]
            for name in requested
        ]

    def nothing(self, requested: Collection[str]) -> object:
        """Returns a response whose outputs hold nothing."""
        tensors = [self._nothing[name] for name in requested]
        return self._backend.InferenceResponse(output_tensors=tensors)


def _nothing(tensor: Tensor) -> NDArray[Any]:
    """Returns zeros, or no elements if the length is variable; the batch dimension is 1."""
    if tensor.type is DataType.STRING:
        return np.array([[b""]], np.object_)
    if tensor.name == "cum_log_probs":
        return np.zeros((1, 1), np.float32)  # of one beam, whether it is asked for or not
    return np.zeros([1, *(max(0, dim) for dim in tensor.dims)], _NUMPY[tensor.type])


def _values(update: Update, block_size: int) -> dict[str, NDArray[Any]]:
    """The values of an update; only the last has usage and reasons. Its id is the stream's
    number.
    """
    values: dict[str, NDArray[Any]] = {
        "output_ids": _ints([update.token_ids]),
        "sequence_length": _ints(len(update.token_ids)),
        "text_piece": _ints(
            (int(update.request_id), *update.text_span, *update.context_ids, *update.token_ids)
        ),
    }
    if update.usage is not None:
        values["num_input_tokens"] = _ints(update.usage.num_prompt_tokens)
        values["num_output_tokens"] = _ints(update.usage.num_output_tokens)
        values.update(_drafts(update.usage))
        # A block counts as reused also where, as a whole slot, it is so in part.
        num_reused = blocks_for(update.usage.num_cached_tokens, block_size)
        values["kv_cache_reused_blocks"] = _ints(num_reused)
    if update.finish_reason is not None:
        values["finish_reason"] = np.array([[update.finish_reason.value.encode()]], np.object_)
        values["ending"] = np.array([[_ending(update)]], np.object_)
    if update.stop_reason is not None:
        values["stop_reason"] = np.array([[update.stop_reason.encode()]], np.object_)
    return values


def _ending(update: Update) -> bytes:
    assert update.finish_reason is not None
    assert update.usage is not None
    ending = {
        "finish_reason": update.finish_reason.value,
        "stop_reason": update.stop_reason,
        "usage": asdict(update.usage),
    }
    return json.dumps(ending).encode()


def _drafts(usage: Usage) -> dict[str, NDArray[Any]]:
    rate = usage.num_accepted_tokens / max(1, usage.num_draft_tokens)
    return {
        "total_draft_tokens": _ints(usage.num_draft_tokens),
        "total_accepted_draft_tokens": _ints(usage.num_accepted_tokens),
        "acceptance_rate": np.array([[rate]], np.float32),
    }


def _ints(values: int | Sequence[int] | Sequence[Sequence[int]]) -> NDArray[np.int32]:
    return np.array([[values]] if isinstance(values, int) else [values], np.int32)


class Reply:
    """Sends the responses to one request; nothing follows its last response.

    interval: tokens in each response of a stream after the first, which has one; None: there is one
    response, when the last update has come.
    num_sent: responses so far, without the last one.

    Triton frees what `is_cancelled` reads when the last response is sent, and crashes if it is read
    meanwhile or later. So the two exclude each other.
    """

    def __init__(
        self,
        backend: Backend,
        tensors: OutputTensors,
        sender: ResponseSender,
        *,
        requested: Collection[str],
        interval: int | None,
    ) -> None:
        self._backend = backend
        self._tensors = tensors
        self._sender = sender
        self._requested = requested
        self._interval = interval
        self._gathered = Gathered()
        self._has_begun = False
        self._ending = threading.Lock()
        self._has_ended = False
        self.num_sent = 0

    def update(self, update: Update) -> None:
        """Sends an update, or keeps it for a later response."""
        if update.error is not None:
            self._fail(update, update.error)
            return
        self._gathered.add(update)
        if update.is_final or self._is_due():
            self._send(self._take(update))

    def is_cancelled(self) -> bool:
        """True if Triton says that the client has gone."""
        with self._ending:
            return not self._has_ended and self._sender.is_cancelled()

    def _is_due(self) -> bool:
        if self._interval is None:
            return False
        return not self._has_begun or self._gathered.num_tokens >= self._interval

    def _take(self, last: Update) -> Update:
        gathered, self._gathered = self._gathered, Gathered()
        return gathered.whole(last)

    def _fail(self, update: Update, error: LLMasOSError) -> None:
        """Sends the pending part of a stream, then the error."""
        try:
            if self._interval is not None and self._gathered.num_tokens:
                self._send(self._take(Update(request_id=update.request_id)))
        finally:
            self._finish(error_response(self._backend, error))

    def _send(self, update: Update) -> None:
        self._has_begun = True
        response: object = None
        try:
            tensors = self._tensors.of(update, self._requested)
            response = self._backend.InferenceResponse(output_tensors=tensors)
        finally:
            if update.is_final:
                self._finish(response)
        if not update.is_final:
            self._sender.send(response)
            self.num_sent += 1

    def _finish(self, response: object) -> None:
        """Sends the last response, or none if it cannot be sent, and always the final flag."""
        with self._ending:
            self._has_ended = True
            try:
                self._sender.send(response, flags=FINAL)
            except BaseException:
                self._sender.send(flags=FINAL)
                raise


class Gathered:
    """The updates of a request that no response has carried yet."""

    def __init__(self) -> None:
        self._token_ids: list[int] = []
        self._num_characters = 0
        self._first: Update | None = None

    @property
    def num_tokens(self) -> int:
        return len(self._token_ids)

    def add(self, update: Update) -> None:
        if self._first is None and (update.token_ids or update.text):
            self._first = update
        self._token_ids += update.token_ids
        begin, end = update.text_span
        self._num_characters += end - begin

    def whole(self, last: Update) -> Update:
        """Returns all pending tokens, and the span of their text from the first update on.

        last: the rest of the response.
        """
        context_ids = self._first.context_ids if self._first else ()
        begin = self._first.text_span[0] if self._first else 0
        return replace(
            last,
            token_ids=tuple(self._token_ids),
            text="",
            context_ids=context_ids,
            text_span=(begin, begin + self._num_characters),
        )
