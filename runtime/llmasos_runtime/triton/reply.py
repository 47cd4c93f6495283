"""Sends the responses to one request of the engine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from llmasos.errors import LLMasOSError
from llmasos.outputs import TokenLogprob
from numpy.typing import NDArray

from llmasos_runtime.sequences.request import Update
from llmasos_runtime.triton.backend import Backend, ResponseSender, error_response
from llmasos_runtime.triton.ending_sender import EndingSender
from llmasos_runtime.triton.output_tensors import OutputTensors


class Reply:
    """Sends the responses to one request; nothing follows its last response.

    interval: tokens in each response of a stream after the first, which has one; None sends what
    has come by the time that it can be sent. has_pieces: False has one response for each answer,
    when its last update has come.
    num_sent: responses so far, without the last one.
    """

    def __init__(
        self,
        backend: Backend,
        tensors: OutputTensors,
        sender: ResponseSender,
        *,
        requested: Collection[str],
        interval: int | None,
        has_pieces: bool,
    ) -> None:
        self._backend = backend
        self._tensors = tensors
        self._sender = EndingSender(sender)
        self._own_sender = sender
        self._requested = requested
        self._interval = interval
        self._has_pieces = has_pieces
        self._gathered: dict[int | None, Gathered] = {}  # by the index of the answer
        self.num_sent = 0

    def update(self, updates: Sequence[Update]) -> None:
        """Sends updates in as many responses as are due; the rest is kept for a later one."""
        newest = {update.index: update for update in updates}
        for update in updates:
            if update.error is not None:
                self._fail(update, update.error)
                return
            gathered = self._gathered.setdefault(update.index, Gathered())
            gathered.add(update)
            if update.is_final or self._is_due(gathered, is_last=update is newest[update.index]):
                self._send(gathered.take(update))

    def is_cancelled(self) -> bool:
        """True if Triton says that the client has gone."""
        return self._sender.is_cancelled()

    def is_sent_by(self, sender: ResponseSender) -> bool:
        """Whether this sender takes the responses."""
        return self._own_sender is sender

    def _is_due(self, gathered: Gathered, *, is_last: bool) -> bool:
        if not self._has_pieces:
            return False
        if self._interval is None:
            return is_last
        return not gathered.has_begun or gathered.num_tokens >= self._interval

    def _fail(self, update: Update, error: LLMasOSError) -> None:
        """Sends the pending part of a stream, then the error."""
        try:
            for index, gathered in self._gathered.items():
                if self._has_pieces and gathered.num_tokens:
                    self._send(gathered.take(Update(request_id=update.request_id, index=index)))
        finally:
            self._sender.finish(error_response(self._backend, error))

    def _send(self, update: Update) -> None:
        response: object = None
        try:
            tensors = self._tensors.of(update, self._requested)
            response = self._backend.InferenceResponse(output_tensors=tensors)
        finally:
            if update.is_last:
                self._sender.finish(response)
        if not update.is_last:
            self._sender.send(response)
            self.num_sent += 1


class Gathered:
    """The updates of an answer that no response has carried yet.

    has_begun: a response has carried some.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self._clear()

    def _clear(self) -> None:
        self._token_ids: list[int] = []
        self._texts: list[str] = []
        self._num_characters = 0
        self._logprobs: list[TokenLogprob] = []
        self._logits: list[NDArray[np.float32]] = []
        self._cumulative_logprob: float | None = None
        self._first: Update | None = None

    @property
    def num_tokens(self) -> int:
        return len(self._token_ids)

    def add(self, update: Update) -> None:
        if self._first is None and (update.token_ids or update.text):
            self._first = update
        self._token_ids += update.token_ids
        self._texts.append(update.text)
        self._logprobs += update.logprobs
        self._logits += update.logits
        self._cumulative_logprob = update.cumulative_logprob
        begin, end = update.text_span
        self._num_characters += end - begin

    def take(self, last: Update) -> Update:
        """Returns all pending tokens and their text, and its span from the first update on.

        last: the rest of the response.
        """
        whole = self._whole(last)
        self.has_begun = True
        self._clear()
        return whole

    def _whole(self, last: Update) -> Update:
        context_ids = self._first.context_ids if self._first else ()
        begin = self._first.text_span[0] if self._first else 0
        return replace(
            last,
            token_ids=tuple(self._token_ids),
            text="".join(self._texts),
            context_ids=context_ids,
            text_span=(begin, begin + self._num_characters),
            logprobs=tuple(self._logprobs),
            logits=tuple(self._logits),
            cumulative_logprob=self._cumulative_logprob,
        )
