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
    """As `EncoderModel`, whose docstrings hold here too; cancelling a task ends its requests."""

    _encoding: EncodingTransport

    async def embed(
        self,
        texts: Sequence[str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        dimensions: int | None = None,
        **fields: Unpack[TextFields],
    ) -> Vectors:
        """See `EncoderModel.embed`."""
        embed = EmbedOptions(prompt=prompt, prompt_name=prompt_name, dimensions=dimensions)
        options = text_options(**fields)
        each = await _in_parts(
            check_texts(texts), lambda some: self._encoding.embed(some, embed, options)
        )
        return np.concatenate(each)

    async def classify(
        self, texts: Sequence[Text], **fields: Unpack[TextFields]
    ) -> list[Classification]:
        """See `EncoderModel.classify`."""
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
        """See `EncoderModel.rerank`."""
        found = await self.classify(pairs_of(query, documents), **fields)
        return ranked(found, documents, top_n)

    async def classify_tokens(
        self,
        texts: Sequence[str],
        *,
        aggregation: Aggregation = "none",
        **fields: Unpack[TextFields],
    ) -> list[list[LabelledSpan]]:
        """See `EncoderModel.classify_tokens`."""
        options = text_options(**fields)
        each = await _in_parts(
            check_texts(texts),
            lambda some: self._encoding.classify_tokens(some, aggregation, options),
        )
        return [one for part in each for one in part]

    async def fill_mask(
        self, texts: Sequence[str], *, top_k: int = 5, **fields: Unpack[TextFields]
    ) -> list[list[list[FilledMask]]]:
        """See `EncoderModel.fill_mask`."""
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
