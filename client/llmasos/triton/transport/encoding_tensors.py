"""Requests and responses of encoders as tensors by name, whatever protocol carries them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmasos.encoding.results import Classification, FilledMask, LabelledSpan
from llmasos.encoding.transport import EmbedOptions, TextOptions, Vectors
from llmasos.errors import InvalidRequestError
from llmasos.text.whole_texts import Text, check_text

Values = Mapping[str, NDArray[Any]]
NUM_TOKENS = "num_input_tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingRequest:
    """inputs: a list of str, int or bool for each tensor. All outputs are wanted."""

    inputs: Mapping[str, Sequence[Any]]


def embed_request(
    texts: Sequence[str], embed: EmbedOptions, options: TextOptions
) -> EncodingRequest:
    """Returns the request for vectors."""
    inputs = _inputs(texts, options)
    for name in ("prompt", "prompt_name", "dimensions"):
        value = getattr(embed, name)
        if value is not None:
            inputs[name] = [value]
    return EncodingRequest(inputs=inputs)


def classify_request(texts: Sequence[Text], options: TextOptions) -> EncodingRequest:
    """Returns the request for labels of texts or of pairs; raises InvalidRequestError for both."""
    pairs = [text for text in texts if isinstance(text, tuple)]
    if pairs and len(pairs) < len(texts):
        raise InvalidRequestError("texts must be all alone or all in pairs, got both")
    alone = [text if isinstance(text, str) else text[0] for text in texts]
    inputs = _inputs(alone, options)
    if pairs:
        inputs["pair_input"] = _checked([second for _, second in pairs])
    return EncodingRequest(inputs=inputs)


def classify_tokens_request(
    texts: Sequence[str], aggregation: str, options: TextOptions
) -> EncodingRequest:
    """Returns the request for labels of tokens."""
    inputs = _inputs(texts, options) | {"aggregation": [aggregation]}
    return EncodingRequest(inputs=inputs)


def fill_mask_request(texts: Sequence[str], top_k: int, options: TextOptions) -> EncodingRequest:
    """Returns the request for tokens in gaps."""
    inputs = _inputs(texts, options) | {"top_k": [top_k]}
    return EncodingRequest(inputs=inputs)


def vectors_of(values: Values) -> Vectors:
    """Reads the vectors of a response."""
    return values["embeddings"].astype(np.float32, copy=False)


def classifications_of(values: Values) -> list[Classification]:
    """Reads the labels of a response."""
    labels = _texts(values["labels"])
    return [_classification(labels, row.tolist()) for row in values["scores"]]


def spans_of(values: Values) -> list[list[LabelledSpan]]:
    """Reads the labels of tokens of a response."""
    lists = map(json.loads, _texts(values["results"]))
    return [[LabelledSpan(**one) for one in spans] for spans in lists]


def gaps_of(values: Values) -> list[list[list[FilledMask]]]:
    """Reads the tokens in gaps of a response."""
    lists = map(json.loads, _texts(values["results"]))
    return [[[FilledMask(**one) for one in gap] for gap in gaps] for gaps in lists]


def _classification(labels: Sequence[str], scores: Sequence[float]) -> Classification:
    best = max(range(len(scores)), key=scores.__getitem__)
    return Classification(
        label=labels[best], score=scores[best], scores=dict(zip(labels, scores, strict=True))
    )


def _inputs(texts: Sequence[str], options: TextOptions) -> dict[str, Sequence[Any]]:
    inputs: dict[str, Sequence[Any]] = {"text_input": _checked(texts)}
    if options.truncate:
        inputs["truncate"] = [True]
    if options.priority:
        inputs["priority"] = [options.priority]
    if options.deadline_ms is not None:
        inputs["deadline_ms"] = [options.deadline_ms]
    return inputs


def _checked(texts: Sequence[str]) -> list[str]:
    for number, text in enumerate(texts):
        try:
            check_text(text, f"text {number}").encode()
        except UnicodeEncodeError as error:
            raise InvalidRequestError(
                f"text {number} is not valid Unicode: a lone surrogate at character {error.start}"
            ) from error
    return list(texts)


def _texts(array: NDArray[Any]) -> list[str]:
    return [one.decode() if isinstance(one, bytes) else str(one) for one in array.reshape(-1)]
