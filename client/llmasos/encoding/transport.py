"""The protocol of the transports that carry texts to an engine that sees each of them once.

As for generated text, the methods of an encoder are written once (`encoder_model`), over a
transport to an engine in this process or behind a Triton server.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from llmasos.encoding.results import Classification, FilledMask, LabelledSpan
from llmasos.text.whole_texts import Text

ResultT = TypeVar("ResultT")
Vectors = NDArray[np.float32]
Aggregation = Literal["none", "simple"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOptions:
    """Options of every task.

    truncate: cut texts that are too long; else they are refused. priority: higher is sooner.
    deadline_ms: time for the answer; None is no limit.
    """

    truncate: bool = False
    priority: int = 0
    deadline_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedOptions:
    """prompt: is put before each text. prompt_name: of one of the model's own prompts; None is the
    model's default. dimensions: of each vector; None is the model's own number.
    """

    prompt: str | None = None
    prompt_name: str | None = None
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class Encoded(Generic[ResultT]):
    """A result, and how many tokens the texts of its request had together."""

    result: ResultT
    num_tokens: int


class EncodingTransport(Protocol):
    """A connection to one engine; its methods may be called from any thread.

    Each returns at once, with a future that gets the result, or the error. Cancelling the future
    ends what has not been computed. Raises InvalidRequestError, QueueFullError, EngineStoppedError.
    """

    def embed(
        self, texts: Sequence[str], embed: EmbedOptions, options: TextOptions
    ) -> Future[Encoded[Vectors]]:
        """The vector of each text, [texts, dimensions]."""
        ...

    def classify(
        self, texts: Sequence[Text], options: TextOptions
    ) -> Future[Encoded[list[Classification]]]:
        """The labels of each text or pair."""
        ...

    def classify_tokens(
        self, texts: Sequence[str], aggregation: Aggregation, options: TextOptions
    ) -> Future[Encoded[list[list[LabelledSpan]]]]:
        """The labels of the tokens of each text, or of its words."""
        ...

    def fill_mask(
        self, texts: Sequence[str], top_k: int, options: TextOptions
    ) -> Future[Encoded[list[list[list[FilledMask]]]]]:
        """The likeliest tokens for each gap of each text."""
        ...
