"""What Triton's `detokenizer` model does: pieces of token ids become text, without any state.

The engine says with each piece which earlier tokens its decoding depends on, and which
characters of the result are new. So pieces of many requests can be decoded in one call,
by any instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from llmasos_runtime.triton.backend import Backend, BackendRequest


class Decoder(Protocol):
    def decode(self, ids: Sequence[int]) -> str: ...


class DetokenizerModel:
    """text_piece holds begin, end and token ids; text_output is decode(ids)[begin:end]."""

    def __init__(self, backend: Backend, tokenizer: Decoder) -> None:
        self._backend = backend
        self._tokenizer = tokenizer

    def execute(self, requests: Sequence[BackendRequest]) -> list[object]:
        """One response for each request, in their order."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: BackendRequest) -> object:
        (piece,) = request.inputs()
        begin, end, *ids = piece.as_numpy()[0].tolist()
        text = self._tokenizer.decode(ids)[begin:end] if begin < end else ""
        # A lone surrogate cannot be UTF-8; a decoder that makes one has nothing better to say.
        output = np.array([[text.encode("utf-8", "replace")]], np.object_)
        tensor = self._backend.Tensor("text_output", output)
        return self._backend.InferenceResponse(output_tensors=[tensor])
