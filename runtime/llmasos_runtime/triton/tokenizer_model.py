"""Triton's `tokenizer` model: turns the ensemble's text into token ids for the engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from llmasos.contract.ensemble import CHAT_OBJECTS, TOKENIZER_INPUTS
from llmasos.errors import InvalidRequestError, LLMasOSError
from llmasos.sampling_table import MAX_STOP_BYTES, MAX_STOP_STRINGS
from llmasos.text.chat import MAX_TEMPLATE_CHARACTERS
from llmasos.text.prompt_encoder import PromptEncoder
from llmasos.text.tokenizer import Tokenizer

from llmasos_runtime.triton.backend import (
    FINAL,
    Backend,
    BackendRequest,
    ResponseSender,
    error_response,
)
from llmasos_runtime.triton.chat_inputs import (
    chat_options,
    conversation,
    refuse_chat_inputs,
)
from llmasos_runtime.triton.fields import Fields
from llmasos_runtime.triton.parameters import refuse_meant_inputs

_log = logging.getLogger(__name__)
_TABLE = {tensor.name: tensor for tensor in TOKENIZER_INPUTS}
_NUM_AT_ONCE = 4
_LONG_BYTES = 1 << 16


class TokenizerModel:
    """Encodes text_input, or the conversation in messages; stop words stay text.

    Requests are answered concurrently (the tokenizers library releases the interpreter lock), so a
    long prompt or a slow chat template delays no short prompt. Long prompts are encoded one after
    the other, since each takes memory.
    """

    def __init__(self, backend: Backend, tokenizer: Tokenizer, *, max_seq_len: int) -> None:
        """max_seq_len: the engine's limit."""
        self._backend = backend
        self._prompts = PromptEncoder(tokenizer, max_seq_len=max_seq_len)
        self._texts = ThreadPoolExecutor(_NUM_AT_ONCE, thread_name_prefix="texts")
        self._chats = ThreadPoolExecutor(_NUM_AT_ONCE, thread_name_prefix="chats")
        self._long = ThreadPoolExecutor(1, thread_name_prefix="long prompts")

    def execute(self, requests: Sequence[BackendRequest]) -> list[None]:
        """Accepts requests; their responses follow from other threads, hence None for each."""
        for request in requests:
            lane = self._lane(request)
            lane.submit(self._respond, request, request.get_response_sender())
        return [None] * len(requests)

    def close(self) -> None:
        """Answers all accepted requests, and accepts no more."""
        for lane in (self._texts, self._chats, self._long):
            lane.shutdown()

    def _lane(self, request: BackendRequest) -> ThreadPoolExecutor:
        arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        texts = (array for array in arrays.values() if array.dtype == object)
        if sum(len(text) for array in texts for text in array.reshape(-1)) > _LONG_BYTES:
            return self._long
        return self._chats if "messages" in arrays else self._texts

    def _respond(self, request: BackendRequest, sender: ResponseSender) -> None:
        try:
            sender.send(self._answer(request), flags=FINAL)
        except Exception:  # noqa: BLE001 - a thread of a pool has nobody to raise to
            _log.exception("a response could not be sent")

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
        self._prompts.check_bytes(fields.num_bytes("text_input"), "text_input")
        for name in ("messages", *CHAT_OBJECTS):
            self._prompts.check_json_bytes(fields.num_bytes(name), name)
        fields.check_texts("chat_template", most=1, most_bytes=4 * MAX_TEMPLATE_CHARACTERS)
        given = fields.texts("text_input")
        text = "".join(given)
        messages = "".join(fields.texts("messages"))
        if not messages:
            refuse_chat_inputs(fields)
            if not given:
                raise InvalidRequestError("text_input is missing", hint="send it, or messages")
            if not text:
                raise InvalidRequestError("text_input is empty")
            whole = fields.boolean("add_special_tokens") is not False
            return self._prompts.encode(text, name="text_input", add_special_tokens=whole)
        if text:
            raise InvalidRequestError(
                "text_input must be left out, or be empty, where messages is given"
            )
        if fields.boolean("add_special_tokens"):
            raise InvalidRequestError(
                "add_special_tokens is for text_input; a chat template writes its own"
            )
        return self._prompts.encode_chat(conversation(messages), chat_options(fields))


def _stop_words(fields: Fields) -> list[str]:
    fields.check_texts("stop_words", most=MAX_STOP_STRINGS, most_bytes=MAX_STOP_BYTES)
    return [word for word in fields.texts("stop_words") if word]
