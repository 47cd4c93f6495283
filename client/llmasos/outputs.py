"""Results of requests: the pieces of a stream, and whole generations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import SupportsFloat


class FinishReason(str, Enum):
    """The reason why a request ended: a stop condition, its length limit, or an abort."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"

    __str__ = str.__str__


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts of one request.

    num_cached_tokens: prompt tokens found in the prefix cache. num_draft_tokens,
    num_accepted_tokens: draft tokens that were computed, and those that were accepted; they are
    ignored when two Usages are compared.
    """

    num_prompt_tokens: int
    num_output_tokens: int
    num_cached_tokens: int = 0
    num_draft_tokens: int = field(default=0, compare=False)
    num_accepted_tokens: int = field(default=0, compare=False)


_LEAST_LOGPROB = -9999.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """The natural logarithm of the probability that the model gave a token.

    The probability is that of the model itself, the softmax of its logits before bias, penalties,
    temperature and filters. An impossible token has -9999.
    top_logprobs: the likeliest tokens at this place and theirs, the likeliest first.
    """

    token_id: int
    logprob: float
    top_logprobs: tuple[tuple[int, float], ...] = ()

    @classmethod
    def of(
        cls,
        token_id: int,
        logprob: SupportsFloat,
        top_ids: Sequence[int] = (),
        top: Sequence[float] = (),
    ) -> TokenLogprob:
        """Makes one from logarithms that may be minus infinity."""
        bounded = (max(value, _LEAST_LOGPROB) for value in top)
        return cls(
            token_id=token_id,
            logprob=max(float(logprob), _LEAST_LOGPROB),
            top_logprobs=tuple(zip(top_ids, bounded, strict=True)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPiece:
    """New text and the tokens that made it. Only the last piece of an answer has finish_reason and
    usage.

    logprobs: of each token, where SamplingParams.logprobs asks for them.
    index: which of the n answers it belongs to. num_unfinished: with the last piece of an answer,
    how many others go on after it.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None = None
    stop_reason: str | None = None
    usage: Usage | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    index: int = 0
    num_unfinished: int = 0

    @property
    def is_last(self) -> bool:
        """No other piece follows, of any answer."""
        return self.finish_reason is not None and not self.num_unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A finished request: the new text (the prompt is not repeated) and how it ended.

    stop_reason: the stop string or the stop token id (as text) that ended it, if one did.
    logprobs: of each token, where SamplingParams.logprobs asks for them.
    others: the other answers to the prompt, where SamplingParams.n asks for several.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    stop_reason: str | None
    usage: Usage
    logprobs: tuple[TokenLogprob, ...] = ()
    others: tuple[Generation, ...] = ()

    @property
    def choices(self) -> tuple[Generation, ...]:
        """All n answers to the prompt, this one first."""
        return (self, *self.others)

    @property
    def cumulative_logprob(self) -> float:
        """The sum of the tokens' log probabilities; 0 where none were asked for."""
        return math.fsum(token.logprob for token in self.logprobs)
