"""The methods of an encoder for asyncio, wherever its engine runs."""

from __future__ import annotations

import asyncio
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
from llmasos.text.whole_texts import Text

T = TypeVar("T")
ResultT = TypeVar("ResultT")


class AsyncEncoderModel:
    """As `EncoderModel`; cancelling a task ends its requests."""

    _encoding: EncodingTransport

    @property
    def encoding(self) -> EncodingTransport:
        """The transport, for callers that want futures and the number of tokens."""
        return self._encoding

    async def embed(
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
        each = await _in_parts(
            check_texts(texts), lambda some: self._encoding.embed(some, embed, options)
        )
        return np.concatenate(each)

    async def classify(
        self, texts: Sequence[Text], **fields: Unpack[TextFields]
    ) -> list[Classification]:
        """Returns the labels of each text, or of each pair (text, other text)."""
        options = text_options(**fields)
        each = await _in_parts(
            check_texts(texts), lambda some: self._encoding.classify(some, options)
        )
        return [one for part in each for one in part]

    async def rerank(
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
        found = await self.classify(pairs_of(query, documents), **fields)
        return ranked(found, documents, top_n)

    async def classify_tokens(
        self,
        texts: Sequence[str],
        *,
        aggregation: Aggregation = "none",
        **fields: Unpack[TextFields],
    ) -> list[list[LabelledSpan]]:
        """Returns the label of each token of each text; with aggregation simple, its entities."""
        options = text_options(**fields)
        each = await _in_parts(
            check_texts(texts),
            lambda some: self._encoding.classify_tokens(some, aggregation, options),
        )
        return [one for part in each for one in part]

    async def fill_mask(
        self, texts: Sequence[str], *, top_k: int = 5, **fields: Unpack[TextFields]
    ) -> list[list[list[FilledMask]]]:
        """Returns the top_k likeliest tokens for each gap of each text; gaps are mask tokens."""
        options = text_options(**fields)
        each = await _in_parts(
            check_texts(texts), lambda some: self._encoding.fill_mask(some, top_k, options)
        )
        return [one for part in each for one in part]


async def _in_parts(
    texts: Sequence[T], start: Callable[[Sequence[T]], Future[Encoded[ResultT]]]
) -> list[ResultT]:
    """Runs a request for each part, one after the other: texts are tokenized in a thread."""
    done = []
    for part in parts(texts):
        future = await asyncio.to_thread(start, part)
        done.append((await asyncio.wrap_future(future)).result)
    return done
