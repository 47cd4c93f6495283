"""POST /v1/rerank, as Cohere and Jina have it, and /v1/score, as vLLM has it.

A cross-encoder scores each pair; an embedder's pairs have the cosine of their vectors.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import numpy as np
from llmasos.encoding.transport import EmbedOptions, Encoded, TextOptions
from pydantic import Field

from llmasos_serving.gateway.api_error import ApiError
from llmasos_serving.gateway.embeddings import MAX_TEXTS, WholeTexts, usage, vectors_of
from llmasos_serving.gateway.fields import Strict
from llmasos_serving.gateway.served_model import ServedModel


class Document(Strict):
    """A document as an object."""

    text: str


class RerankRequest(WholeTexts):
    """The body of POST /v1/rerank."""

    query: str
    documents: list[str | Document] = Field(min_length=1, max_length=MAX_TEXTS)
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = False


class ScoreRequest(WholeTexts):
    """The body of POST /v1/score: one text against many, or as many against as many."""

    text_1: str | list[str]
    text_2: str | list[str]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs; raises ApiError where the numbers do not go together."""
        first = [self.text_1] if isinstance(self.text_1, str) else self.text_1
        second = [self.text_2] if isinstance(self.text_2, str) else self.text_2
        if len(first) == 1:
            first = first * len(second)
        if len(first) != len(second) or not 1 <= len(second) <= MAX_TEXTS:
            raise ApiError(
                f"text_1 has {len(first)} texts and text_2 {len(second)}: send one and up to "
                f"{MAX_TEXTS}, or as many of both",
                param="text_1",
            )
        return list(zip(first, second, strict=True))


async def rerank(model: ServedModel, request: RerankRequest) -> dict[str, Any]:
    """Returns the documents by their scores, the best first."""
    documents = [one if isinstance(one, str) else one.text for one in request.documents]
    pairs = [(request.query, document) for document in documents]
    found = await _scores(model, pairs, request.options, "/v1/rerank")
    order = sorted(range(len(documents)), key=lambda index: -found.result[index])
    results: list[dict[str, Any]] = [
        {"index": index, "relevance_score": found.result[index]} for index in order[: request.top_n]
    ]
    if request.return_documents:
        results = [{**one, "document": {"text": documents[one["index"]]}} for one in results]
    return {
        "id": f"rerank-{uuid.uuid4().hex}",
        "model": model.name,
        "results": results,
        "usage": usage(found.num_tokens),
    }


async def score(model: ServedModel, request: ScoreRequest) -> dict[str, Any]:
    """Returns the score of each pair."""
    found = await _scores(model, request.pairs, request.options, "/v1/score")
    return {
        "id": f"score-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": model.name,
        "data": [
            {"index": index, "object": "score", "score": value}
            for index, value in enumerate(found.result)
        ],
        "usage": usage(found.num_tokens),
    }


async def _scores(
    model: ServedModel, pairs: list[tuple[str, str]], options: TextOptions, path: str
) -> Encoded[list[float]]:
    if model.task == "embed":
        return await _cosines(model, pairs, options)
    model.check_task("classify", path)
    found = await asyncio.wrap_future(model.client.encoding.classify(pairs, options))
    if any(len(one.scores) != 1 for one in found.result):
        raise ApiError(
            f"{path} needs a model of one label, {model.name!r} has {len(found.result[0].scores)}",
            param="model",
        )
    return Encoded([one.score for one in found.result], found.num_tokens)


async def _cosines(
    model: ServedModel, pairs: list[tuple[str, str]], options: TextOptions
) -> Encoded[list[float]]:
    texts = list(dict.fromkeys(text for pair in pairs for text in pair))
    found = await vectors_of(model, texts, EmbedOptions(), options)
    lengths = np.linalg.norm(found.result, axis=1, keepdims=True)
    vectors = dict(zip(texts, found.result / np.maximum(lengths, 1e-12), strict=True))
    cosines = [float(vectors[first] @ vectors[second]) for first, second in pairs]
    return Encoded(cosines, found.num_tokens)
