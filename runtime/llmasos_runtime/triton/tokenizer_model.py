"""What Triton's `tokenizer` model does: the ensemble's text becomes token ids for the engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from llmasos.contract.ensemble import TOKENIZER_INPUTS
from llmasos.errors import InvalidRequestError, LLMasOSError
from llmasos.sampling import MAX_STOP_STRINGS
from llmasos.tokenizer import Tokenizer

from llmasos_runtime.triton.backend import Backend, BackendRequest, error_response
from llmasos_runtime.triton.chat_inputs import (
    chat_options,
    conversation,
    refuse_chat_inputs,
)
from llmasos_runtime.triton.fields import Fields
from llmasos_runtime.triton.parameters import refuse_meant_inputs

_log = logging.getLogger(__name__)
_TABLE = {tensor.name: tensor for tensor in TOKENIZER_INPUTS}


class TokenizerModel:
    """Encodes text_input, or the conversation in messages; stop words stay text."""

    def __init__(self, backend: Backend, tokenizer: Tokenizer) -> None:
        self._backend = backend
        self._tokenizer = tokenizer

    def execute(self, requests: Sequence[BackendRequest]) -> list[object]:
        """One response for each request, in their order."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: BackendRequest) -> object:
        try:
            refuse_meant_inputs(request.parameters())
            return self._encode(Fields.of(request, _TABLE))
        except LLMasOSError as error:
            return error_response(self._backend, error)
        except Exception as error:  # noqa: BLE001 - one bad request must not fail its neighbours
            _log.exception("a request failed")
            internal = LLMasOSError(f"internal error: {type(error).__name__}: {error}")
            return error_response(self._backend, internal)

    def _encode(self, fields: Fields) -> object:
        fields.refuse_unsupported()
        ids = np.array([self._prompt(fields)], np.int32)
        stop = [text.encode() for text in _stop_words(fields)]
        tensor = self._backend.Tensor
        return self._backend.InferenceResponse(
            output_tensors=[
                tensor("input_ids", ids),
                tensor("input_lengths", np.array([[ids.size]], np.int32)),
                tensor("stop_text", np.array([stop], np.object_).reshape(1, len(stop))),
                tensor("from_ensemble", np.array([[True]])),
            ]
        )

    def _prompt(self, fields: Fields) -> list[int]:
        given = fields.texts("text_input")
        text = "".join(given)
        messages = "".join(fields.texts("messages"))
        if not messages:
            refuse_chat_inputs(fields)
            if not given:
                raise InvalidRequestError("text_input is missing", hint="send it, or messages")
            if not text:
                raise InvalidRequestError("text_input is empty")
            return self._tokenizer.encode(text)
        if text:
            raise InvalidRequestError(
                "text_input must be left out, or be empty, where messages is given"
            )
        return self._tokenizer.encode_chat(conversation(messages), chat_options(fields))


def _stop_words(fields: Fields) -> list[str]:
    words = [word for word in fields.texts("stop_words") if word]
    if len(words) > MAX_STOP_STRINGS:
        raise InvalidRequestError(
            f"stop_words holds {len(words)} strings, at most {MAX_STOP_STRINGS}"
        )
    return words
