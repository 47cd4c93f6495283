"""Triton's `preprocessing` model: makes the classic tensors of a prompt.

`tokenizer` reads the texts.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from llmasos.contract.classic_text_models import PREPROCESSING_INPUTS
from llmasos.error_codes import error_of_text
from llmasos.errors import InvalidRequestError, LLMasOSError
from numpy.typing import NDArray

from llmasos_runtime.triton.backend import Backend, BackendRequest, error_response
from llmasos_runtime.triton.fields import Fields
from llmasos_runtime.triton.word_lists import padded_rows, word_lists

_TABLE = {tensor.name: tensor for tensor in PREPROCESSING_INPUTS}
_log = logging.getLogger(__name__)


class Encoder(Protocol):
    def __call__(self, text: str, *, add_special_tokens: bool) -> list[int]: ...


class TokenizerModel:
    """The model `tokenizer` as seen by another model of the server."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __call__(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Returns token ids; raises the error of `tokenizer`."""
        values = {
            "text_input": np.array([[text.encode()]], np.object_),
            "add_special_tokens": np.array([[add_special_tokens]]),
        }
        response = self._backend.InferenceRequest(
            model_name="tokenizer",
            requested_output_names=["input_ids"],
            inputs=[self._backend.Tensor(name, array) for name, array in values.items()],
        ).exec()
        if response.has_error():
            raise error_of_text(response.error().message())
        (ids,) = response.output_tensors()
        return [int(token) for token in ids.as_numpy().reshape(-1)]


class PreprocessingModel:
    """Rows of different lengths are filled up behind with the pad token.

    A word is the tokens of its text alone, as the classic model had it, so that a stop word that
    comes in other tokens is not found; `tensorrt_llm_bls` looks for its text.
    """

    def __init__(
        self,
        backend: Backend,
        encode: Encoder,
        *,
        vocab_size: int,
        end_id: int,
        adds_special_tokens: bool = True,
    ) -> None:
        """end_id: ends a text, and fills up rows, where the request does not say."""
        self._backend = backend
        self._encode = encode
        self._vocab_size = vocab_size
        self._end_id = end_id
        self._adds_special_tokens = adds_special_tokens

    def execute(self, requests: Sequence[BackendRequest]) -> list[object]:
        """One response for each request, in their order."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: BackendRequest) -> object:
        try:
            arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            outputs = self._outputs(arrays)
        except LLMasOSError as error:
            return error_response(self._backend, error)
        except Exception as error:  # noqa: BLE001 - one bad request must not fail its neighbours
            _log.exception("a request failed")
            internal = LLMasOSError(f"internal error: {type(error).__name__}: {error}")
            return error_response(self._backend, internal)
        wanted = set(request.requested_output_names())
        tensors = [self._backend.Tensor(n, a) for n, a in outputs.items() if n in wanted]
        return self._backend.InferenceResponse(output_tensors=tensors)

    def _outputs(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        num_rows = arrays["QUERY"].shape[0]
        rows = [
            Fields({name: array[row : row + 1] for name, array in arrays.items()}, _TABLE)
            for row in range(num_rows)
        ]
        for fields in rows:
            fields.refuse_unsupported()
        end_ids, pad_ids = (
            [self._id(fields, name) for fields in rows] for name in ("END_ID", "PAD_ID")
        )
        prompts = [self._text(fields, "QUERY") for fields in rows]
        decoders = [
            self._text(fields, "DECODER_QUERY") if fields.has("DECODER_QUERY") else [pad]
            for fields, pad in zip(rows, pad_ids, strict=True)
        ]
        ids = padded_rows(prompts, pad_ids)
        return {
            "INPUT_ID": ids,
            "REQUEST_INPUT_LEN": _column(map(len, prompts)),
            "DECODER_INPUT_ID": padded_rows(decoders, pad_ids),
            "REQUEST_DECODER_INPUT_LEN": _column(map(len, decoders)),
            "BAD_WORDS_IDS": word_lists([self._words(f, "BAD_WORDS_DICT") for f in rows]),
            "STOP_WORDS_IDS": word_lists([self._words(f, "STOP_WORDS_DICT") for f in rows]),
            "EMBEDDING_BIAS": np.stack([self._bias(fields) for fields in rows]),
            "REQUEST_OUTPUT_LEN": arrays["REQUEST_OUTPUT_LEN"],
            "OUT_END_ID": _column(end_ids),
            "OUT_PAD_ID": _column(pad_ids),
            "OUT_PROMPT_TABLE_EXTRA_IDS": np.zeros_like(ids, np.uint64),
        }

    def _id(self, fields: Fields, name: str) -> int:
        given = fields.integer(name)
        return self._end_id if given is None else given

    def _text(self, fields: Fields, name: str) -> list[int]:
        return self._encode(fields.text(name), add_special_tokens=self._adds_special_tokens)

    def _words(self, fields: Fields, name: str) -> list[list[int]]:
        words = [word for word in fields.texts(name) if word]
        return [self._encode(word, add_special_tokens=False) for word in words]

    def _bias(self, fields: Fields) -> NDArray[np.float32]:
        """Each token of a word gets the word's weight; nothing if there are no words."""
        words = self._words(fields, "EMBEDDING_BIAS_WORDS")
        weights = fields.vector("EMBEDDING_BIAS_WEIGHTS")
        num_weights = 0 if weights is None else weights.size
        if len(words) != num_weights:
            raise InvalidRequestError(
                f"EMBEDDING_BIAS_WORDS and EMBEDDING_BIAS_WEIGHTS must be as many, got "
                f"{len(words)} and {num_weights}"
            )
        bias = np.zeros(self._vocab_size if words else 0, np.float32)
        if weights is not None:
            for tokens, weight in zip(words, weights, strict=True):
                np.add.at(bias, tokens, weight)
        return bias


def plan_facts(directory: Path) -> tuple[int, int]:
    """The size of the vocabulary and the first end token of an engine plan.

    `engine` has checked the plan; what checks it is large, and this model is small.
    """
    plan = json.loads((directory / "plan.json").read_text(encoding="utf-8"))
    return int(plan["vocab_size"]), int((plan["eos_token_ids"] or [0])[0])


def _column(values: Any) -> NDArray[np.int32]:
    return np.array([[value] for value in values], np.int32)
