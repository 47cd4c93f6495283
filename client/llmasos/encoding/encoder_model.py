"""The methods of an encoder, wherever its engine runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

import numpy as np
from typing_extensions import Unpack

from llmasos.encoding.arguments import (
    TextFields,
    check_texts,
    pairs_of,
    parts,
    ranked,
    text_options,
)
from llmasos.encoding.results import Classification, FilledMask, LabelledSpan, RankedDocument
from llmasos.encoding.transport import (
    Aggregation,
    EmbedOptions,
    Encoded,
    EncodingTransport,
    Vectors,
)
from llmasos.errors import QueueFullError
from llmasos.text.whole_texts import Text

T = TypeVar("T")
ResultT = TypeVar("ResultT")


class EncoderModel:
    """The part of `LLM` and `TritonClient` for networks that see each text once.

    `AsyncEncoderModel` has the same methods for asyncio. Each takes the fields of `TextOptions` as
    keyword arguments: truncate, priority, deadline_ms. All raise InvalidRequestError for a text
    that is too long unless truncate is true, and for a model that was built for another task.
    """

    _encoding: EncodingTransport

    @property
    def encoding(self) -> EncodingTransport:
        """The transport, for callers that want futures and the number of tokens."""
        return self._encoding

    def embed(
        self,
        texts: Sequence[str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        dimensions: int | None = None,
        **fields: Unpack[TextFields],
    ) -> Vectors:
        """Returns the vector of each text, float32 [texts, dimensions].

        prompt: is put before each text, or by prompt_name one of the model's own prompts.
        dimensions: only the first ones, for models that were trained so (Matryoshka, Kusupati et
        al., arXiv:2205.13147); unit length is restored where the model's vectors have it.
        """
        embed = EmbedOptions(prompt=prompt, prompt_name=prompt_name, dimensions=dimensions)
        options = text_options(**fields)
        each = _in_parts(
            check_texts(texts), lambda some: self._encoding.embed(some, embed, options)
        )
        return np.concatenate(each)

    def classify(self, texts: Sequence[Text], **fields: Unpack[TextFields]) -> list[Classification]:
        """Returns the labels of each text, or of each pair (text, other text)."""
        options = text_options(**fields)
        each = _in_parts(check_texts(texts), lambda some: self._encoding.classify(some, options))
        return [one for part in each for one in part]

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        **fields: Unpack[TextFields],
    ) -> list[RankedDocument]:
        """Returns the documents by their scores for a query, the best first, at most top_n.

        The model is a cross-encoder: a classifier of pairs with one label.
        """
        found = self.classify(pairs_of(query, documents), **fields)
        return ranked(found, documents, top_n)

    def classify_tokens(
        self,
        texts: Sequence[str],
        *,
        aggregation: Aggregation = "none",
        **fields: Unpack[TextFields],
    ) -> list[list[LabelledSpan]]:
        """Returns the label of each token of each text; with aggregation simple, its entities."""
        options = text_options(**fields)
        each = _in_parts(
            check_texts(texts),
            lambda some: self._encoding.classify_tokens(some, aggregation, options),
        )
        return [one for part in each for one in part]

    def fill_mask(
        self, texts: Sequence[str], *, top_k: int = 5, **fields: Unpack[TextFields]
    ) -> list[list[list[FilledMask]]]:
        """Returns the top_k likeliest tokens for each gap of each text; gaps are mask tokens."""
        options = text_options(**fields)
        each = _in_parts(
            check_texts(texts), lambda some: self._encoding.fill_mask(some, top_k, options)
        )
        return [one for part in each for one in part]


def _in_parts(
    texts: Sequence[T], start: Callable[[Sequence[T]], Future[Encoded[ResultT]]]
) -> list[ResultT]:
    """Starts a request for each part, and waits for earlier ones where the queue is full."""
    running: deque[Future[Encoded[ResultT]]] = deque()
    done: list[ResultT] = []
    try:
        for part in parts(texts):
            while True:
                try:
                    running.append(start(part))
                    break
                except QueueFullError:
                    if not running:
                        raise
                    done.append(running.popleft().result().result)
        while running:
            done.append(running[0].result().result)
            running.popleft()
        return done
    finally:
        for future in running:
            future.cancel()
