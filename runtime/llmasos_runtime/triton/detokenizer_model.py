"""Triton's `detokenizer` model: turns pieces of token ids into text, without any state.

With each piece the engine sends the earlier tokens on which its decoding depends, and the span of
new characters in the result. So pieces of many requests can be decoded in one call. Only the
number of pieces of each stream is kept (see `abandoned_streams`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from llmasos.errors import InvalidRequestError
from numpy.typing import NDArray

from llmasos_runtime.triton.abandoned_streams import QUERY, PieceCounts
from llmasos_runtime.triton.backend import Backend, BackendRequest, error_response

_TOKENS = "TOKENS_BATCH"


class Decoder(Protocol):
    def decode(self, ids: Sequence[int]) -> str: ...


class DetokenizerModel:
    """text_piece holds a stream's number, begin, end and token ids.

    text_output is decode(ids)[begin:end]. TOKENS_BATCH and SEQUENCE_LENGTH in its place are
    those of the classic `postprocessing`: text_output has the text of each beam of each row.
    """

    def __init__(self, backend: Backend, tokenizer: Decoder, *, is_alone: bool = True) -> None:
        """is_alone: True if all pieces come to this instance."""
        self._backend = backend
        self._tokenizer = tokenizer
        self._pieces = PieceCounts() if is_alone else None

    def execute(self, requests: Sequence[BackendRequest]) -> list[object]:
        """One response for each request, in their order."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: BackendRequest) -> object:
        """What a client sends to `detokenizer` itself may be anything."""
        inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        try:
            return self._response(self._texts(inputs))
        except Exception as error:  # noqa: BLE001 - one bad request must not fail its neighbours
            refusal = InvalidRequestError(f"no tokens to decode: {type(error).__name__}: {error}")
            return error_response(self._backend, refusal)

    def _texts(self, inputs: Mapping[str, NDArray[Any]]) -> list[str]:
        if _TOKENS in inputs:
            return [self._tokenizer.decode(row) for row in _rows(inputs)]
        number, *rest = inputs["text_piece"][0].tolist()
        return [self._counts(rest) if number == QUERY else self._text(number, *rest)]

    def _response(self, texts: Sequence[str]) -> object:
        # A lone surrogate cannot be UTF-8; a decoder that makes one has nothing better to say.
        # The classic shape: one text for each row, and no dimension behind that.
        output = np.array([text.encode("utf-8", "replace") for text in texts], np.object_)
        tensor = self._backend.Tensor("text_output", output)
        return self._backend.InferenceResponse(output_tensors=[tensor])

    def _text(self, number: int, begin: int, end: int, *ids: int) -> str:
        if self._pieces is not None:
            self._pieces.add(number)
        return self._tokenizer.decode(ids)[begin:end] if begin < end else ""

    def _counts(self, numbers: Sequence[int]) -> str:
        counts = [] if self._pieces is None else self._pieces.answer(numbers)
        return " ".join(map(str, counts))


def _rows(inputs: Mapping[str, NDArray[Any]]) -> Iterator[list[int]]:
    """The tokens of each beam of each row, without what fills it up."""
    tokens, lengths = inputs[_TOKENS], inputs["SEQUENCE_LENGTH"]
    flat = tokens.reshape(-1, tokens.shape[-1])
    for row, length in zip(flat, lengths.reshape(-1), strict=False):
        yield [int(token) for token in row[: max(0, int(length))] if token >= 0]
