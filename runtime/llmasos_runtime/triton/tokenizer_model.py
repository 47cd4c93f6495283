"""Triton's `tokenizer` model: turns the ensemble's text into token ids for the engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import numpy as np
from llmasos.contract.ensemble import TOKENIZER_INPUTS
from llmasos.errors import LLMasOSError
from llmasos.sampling_limits import MAX_STOP_BYTES, MAX_STOP_STRINGS
from llmasos.text.source_texts import SourceTexts
from llmasos.text.tokenizer import Tokenizer

from llmasos_runtime.triton.backend import (
    FINAL,
    Backend,
    BackendRequest,
    ResponseSender,
    error_response,
)
from llmasos_runtime.triton.fields import Fields
from llmasos_runtime.triton.parameters import refuse_meant_inputs
from llmasos_runtime.triton.text_prompts import TextPrompts

_log = logging.getLogger(__name__)
_TABLE = {tensor.name: tensor for tensor in TOKENIZER_INPUTS}


class TokenizerModel:
    """Encodes the prompts of requests concurrently; stop words stay text."""

    def __init__(
        self,
        backend: Backend,
        tokenizer: Tokenizer,
        *,
        max_seq_len: int,
        sources: SourceTexts | None = None,
    ) -> None:
        """max_seq_len, sources: see `PromptEncoder`."""
        self._backend = backend
        self._prompts = TextPrompts(tokenizer, max_seq_len=max_seq_len, sources=sources)

    def execute(self, requests: Sequence[BackendRequest]) -> list[None]:
        """Accepts requests; their responses follow from other threads, hence None for each."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                fields = Fields.of(request, _TABLE)
            except LLMasOSError as error:
                sender.send(error_response(self._backend, error), flags=FINAL)
                continue
            self._prompts.run(fields, partial(self._respond, request, fields, sender))
        return [None] * len(requests)

    def close(self) -> None:
        """Answers all accepted requests, and accepts no more."""
        self._prompts.close()

    def _respond(self, request: BackendRequest, fields: Fields, sender: ResponseSender) -> None:
        try:
            sender.send(self._answer(request, fields), flags=FINAL)
        except Exception:  # noqa: BLE001 - a thread of a pool has nobody to raise to
            _log.exception("a response could not be sent")

    def _answer(self, request: BackendRequest, fields: Fields) -> object:
        try:
            refuse_meant_inputs(request.parameters())
            return self._encode(fields)
        except LLMasOSError as error:
            return error_response(self._backend, error)
        except Exception as error:  # noqa: BLE001 - one bad request must not fail its neighbours
            _log.exception("a request failed")
            internal = LLMasOSError(f"internal error: {type(error).__name__}: {error}")
            return error_response(self._backend, internal)

    def _encode(self, fields: Fields) -> object:
        fields.refuse_unsupported()
        prompt = self._prompts.encode(fields)
        ids = np.array([prompt.token_ids], np.int32)
        begin = np.array(prompt.decoder_token_ids, np.int32)
        stop = [text.encode() for text in _stop_words(fields)]
        tensor = self._backend.Tensor
        return self._backend.InferenceResponse(
            output_tensors=[
                tensor("input_ids", ids),
                tensor("input_lengths", np.array([[ids.size]], np.int32)),
                tensor("decoder_input_ids", begin[None]),
                tensor("decoder_input_lengths", np.array([[begin.size]], np.int32)),
                tensor("task", np.array([[prompt.task.encode()]], np.object_)),
                tensor("stop_text", np.array([stop], np.object_).reshape(1, len(stop))),
                tensor("from_ensemble", np.array([[True]])),
            ]
        )


def _stop_words(fields: Fields) -> list[str]:
    fields.check_texts("stop_words", most=MAX_STOP_STRINGS, most_bytes=MAX_STOP_BYTES)
    return [word for word in fields.texts("stop_words") if word]
