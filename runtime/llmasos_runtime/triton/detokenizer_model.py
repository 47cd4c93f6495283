"""Triton's `detokenizer` model: turns pieces of token ids into text, without any state.

With each piece the engine sends the earlier tokens on which its decoding depends, and the span of
new characters in the result. So pieces of many requests can be decoded in one call. Only the
number of pieces of each stream is kept (see `abandoned_streams`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from llmasos_runtime.triton.abandoned_streams import QUERY, PieceCounts
from llmasos_runtime.triton.backend import Backend, BackendRequest


class Decoder(Protocol):
    def decode(self, ids: Sequence[int]) -> str: ...


class DetokenizerModel:
    """text_piece holds a stream's number, begin, end and token ids.

    text_output is decode(ids)[begin:end].
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
        (piece,) = request.inputs()
        number, *rest = piece.as_numpy()[0].tolist()
        text = self._counts(rest) if number == QUERY else self._text(number, *rest)
        # A lone surrogate cannot be UTF-8; a decoder that makes one has nothing better to say.
        # The classic shape: one text for each row, and no dimension behind that.
        output = np.array([text.encode("utf-8", "replace")], np.object_)
        tensor = self._backend.Tensor("text_output", output)
        return self._backend.InferenceResponse(output_tensors=[tensor])

    def _text(self, number: int, begin: int, end: int, *ids: int) -> str:
        if self._pieces is not None:
            self._pieces.add(number)
        return self._tokenizer.decode(ids)[begin:end] if begin < end else ""

    def _counts(self, numbers: Sequence[int]) -> str:
        counts = [] if self._pieces is None else self._pieces.answer(numbers)
        return " ".join(map(str, counts))
