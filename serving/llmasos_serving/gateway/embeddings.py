"""POST /v1/embeddings: OpenAI's vectors of texts."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, Literal

import numpy as np
from llmasos.encoding.transport import EmbedOptions, Encoded, TextOptions, Vectors
from pydantic import Field

from llmasos_serving.gateway.api_error import ApiError
from llmasos_serving.gateway.fields import Strict
from llmasos_serving.gateway.served_model import ServedModel

MAX_TEXTS = 2048
"""OpenAI's own limit of one request."""


class WholeTexts(Strict):
    """Fields of every request for whole texts.

    truncate: cut texts that are too long, which are refused otherwise. priority, deadline_ms: as
    for generated text.
    """

    model: str
    truncate: bool = False
    priority: int = Field(0, ge=-100, le=100)
    deadline_ms: int | None = Field(None, ge=1)
    user: str | None = None

    @property
    def options(self) -> TextOptions:
        """The options of the engine."""
        return TextOptions(
            truncate=self.truncate, priority=self.priority, deadline_ms=self.deadline_ms
        )


class EmbeddingsRequest(WholeTexts):
    """The body of POST /v1/embeddings. prompt_name: of one of the model's own prompts."""

    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    prompt_name: str | None = None

    @property
    def texts(self) -> list[str]:
        """The texts; raises ApiError for token ids, an empty list and too many texts."""
        given = [self.input] if isinstance(self.input, str) else self.input
        texts = [one for one in given if isinstance(one, str)]
        if len(texts) < len(given):
            raise ApiError(
                "input must be text: token ids are of one tokenizer, and this model may have "
                "another (LangChain sends text with check_embedding_ctx_length=False)",
                param="input",
            )
        if not 1 <= len(texts) <= MAX_TEXTS:
            raise ApiError(
                f"input must have from 1 to {MAX_TEXTS} texts, got {len(texts)}", param="input"
            )
        return texts


async def embeddings(model: ServedModel, request: EmbeddingsRequest) -> dict[str, Any]:
    """Returns the vector of each text, in the order of the texts."""
    model.check_task("embed", "/v1/embeddings")
    embed = EmbedOptions(dimensions=request.dimensions, prompt_name=request.prompt_name)
    found = await vectors_of(model, request.texts, embed, request.options)
    return {
        "object": "list",
        "model": model.name,
        "data": [
            {"object": "embedding", "index": index, "embedding": _said(vector, request)}
            for index, vector in enumerate(found.result)
        ],
        "usage": usage(found.num_tokens),
    }


async def vectors_of(
    model: ServedModel, texts: list[str], embed: EmbedOptions, options: TextOptions
) -> Encoded[Vectors]:
    """Asks the engine; a request whose client goes is cancelled."""
    return await asyncio.wrap_future(model.client.encoding.embed(texts, embed, options))


def usage(num_tokens: int) -> dict[str, int]:
    """Returns the usage of a request that makes no tokens."""
    return {"prompt_tokens": num_tokens, "total_tokens": num_tokens}


def _said(vector: Vectors, request: EmbeddingsRequest) -> list[float] | str:
    if request.encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    return [float(value) for value in np.asarray(vector, np.float64)]
