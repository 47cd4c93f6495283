"""The input and the output of the engine: a Request, and the Updates that answer it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from llmasos.errors import LLMasOSError
from llmasos.outputs import FinishReason, StreamPiece, TokenLogprob, Usage
from llmasos.sampling import SamplingParams
from numpy.typing import NDArray

if TYPE_CHECKING:
    from llguidance import LLMatcher


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt and how to continue it.

    echo: the first update begins with the prompt's own tokens and text.
    stop_tokens: stop words that are special tokens, by id. See `special_stops`.
    bad_words: token ids of each word that must not come. See `bad_words`.
    grammar: the compiled guide, if there is one. See `grammar`.
    draft_token_ids: what the output may be, to be verified several tokens in a step; it changes no
    token. is_timed: the last update tells when what happened. wants_logits: updates have the logits
    of their tokens.
    task: one of the plan's tasks, whose recommended values come before others.
    decoder_token_ids: for an encoder-decoder, whose encoder sees the prompt: what the answer begins
    with; empty is what the plan says. encoder_token_ids: set in the engine, where the prompt is
    what the decoder continues. See `with_decoder_prompt`.
    forced_eos_token_id: the last token of an answer as long as it may be. num_forced_tokens: tokens
    of the prompt that count as the answer's for the length of a beam.
    """

    request_id: str
    prompt_token_ids: tuple[int, ...]
    params: SamplingParams
    echo: bool = False
    stop_tokens: Mapping[int, str] = field(default_factory=dict[int, str])
    bad_words: tuple[tuple[int, ...], ...] = ()
    grammar: LLMatcher | None = None
    draft_token_ids: tuple[int, ...] = ()
    is_timed: bool = False
    wants_logits: bool = False
    task: str = ""
    decoder_token_ids: tuple[int, ...] = ()
    encoder_token_ids: tuple[int, ...] = ()
    forced_eos_token_id: int | None = None
    num_forced_tokens: int = 0


class Timings(NamedTuple):
    """When an answer's request came, was admitted first, and got its first and last tokens.

    In nanoseconds of `time.monotonic_ns()`; 0 for what did not happen.
    """

    arrival_ns: int
    first_scheduled_ns: int
    first_token_ns: int
    last_token_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """New tokens of one request, and the text that they completed.

    With d = decode(context_ids + token_ids), text is d[text_span[0]:text_span[1]]:
    context_ids are tokens of earlier updates that the decoding of these depends on.
    Exactly one update of an answer is final: it carries finish_reason and usage, or error. An
    error ends all answers of the request.
    index: which of several answers it belongs to; None if there is one. num_unfinished: other
    answers that go on after it.
    logprobs: of each new token of the output, if they were asked for. cumulative_logprob: the sum
    of all so far. logits: [vocabulary] of each new token, likewise.
    """

    request_id: str
    token_ids: tuple[int, ...] = ()
    text: str = ""
    context_ids: tuple[int, ...] = ()
    text_span: tuple[int, int] = (0, 0)
    finish_reason: FinishReason | None = None
    stop_reason: str | None = None
    usage: Usage | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    cumulative_logprob: float | None = None
    timings: Timings | None = None
    logits: tuple[NDArray[np.float32], ...] = ()
    index: int | None = None
    num_unfinished: int = 0
    error: LLMasOSError | None = None

    @property
    def is_final(self) -> bool:
        """Nothing of this answer follows."""
        return self.finish_reason is not None or self.error is not None

    @property
    def is_last(self) -> bool:
        """Nothing of the request follows."""
        return self.is_final and not self.num_unfinished


def piece_of(update: Update) -> StreamPiece:
    """Converts an update to a piece of a stream; raises its error if it has one."""
    if update.error is not None:
        raise update.error
    return StreamPiece(
        text=update.text,
        token_ids=update.token_ids,
        finish_reason=update.finish_reason,
        stop_reason=update.stop_reason,
        usage=update.usage,
        logprobs=update.logprobs,
        index=update.index or 0,
        num_unfinished=update.num_unfinished,
    )
