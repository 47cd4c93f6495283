"""The input and the output of the engine: a Request, and the Updates that answer it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmasos.errors import LLMasOSError
from llmasos.outputs import FinishReason, StreamPiece, Usage
from llmasos.sampling import SamplingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt and how to continue it.

    echo: the first update begins with the prompt's own tokens and text.
    stop_tokens: stop words that are special tokens, by id. See `special_stops`.
    """

    request_id: str
    prompt_token_ids: tuple[int, ...]
    params: SamplingParams
    echo: bool = False
    stop_tokens: Mapping[int, str] = field(default_factory=dict[int, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """New tokens of one request, and the text that they completed.

    With d = decode(context_ids + token_ids), text is d[text_span[0]:text_span[1]]:
    context_ids are tokens of earlier updates that the decoding of these depends on.
    Exactly one update of a request is final: it carries finish_reason and usage, or error.
    """

    request_id: str
    token_ids: tuple[int, ...] = ()
    text: str = ""
    context_ids: tuple[int, ...] = ()
    text_span: tuple[int, int] = (0, 0)
    finish_reason: FinishReason | None = None
    stop_reason: str | None = None
    usage: Usage | None = None
    error: LLMasOSError | None = None

    @property
    def is_final(self) -> bool:
        return self.finish_reason is not None or self.error is not None


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
    )
