"""Results of requests: the pieces of a stream, and whole generations."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPiece:
    """New text and the tokens that made it. Only the last piece has finish_reason and usage."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None = None
    stop_reason: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A finished request: the new text (the prompt is not repeated) and how it ended.

    stop_reason: the stop string or the stop token id (as text) that ended it, if one did.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    stop_reason: str | None
    usage: Usage
