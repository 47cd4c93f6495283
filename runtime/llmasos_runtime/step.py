"""What one forward of the network computes, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from llmasos.errors import LLMasOSError
from llmasos.outputs import FinishReason

from llmasos_runtime.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a step that one sequence gets: its next `num_tokens` pending tokens."""

    sequence: Sequence
    num_tokens: int

    @property
    def is_sampled(self) -> bool:
        """The step reaches the sequence's last token, so the next one can be chosen."""
        return self.num_tokens == self.sequence.num_pending_tokens


@dataclass(frozen=True, slots=True)
class Step:
    """One forward over the packed tokens of these sequences, prefill and decode mixed.

    num_preempted: sequences that had to give their blocks to these.
    """

    shares: tuple[Share, ...]
    num_preempted: int = 0

    @property
    def num_tokens(self) -> int:
        return sum(share.num_tokens for share in self.shares)

    @property
    def num_decode_tokens(self) -> int:
        return sum(share.num_tokens for share in self.shares if share.sequence.is_decoding)

    @property
    def sampled(self) -> tuple[Sequence, ...]:
        """Those that get a token, in the order of the rows of the step's logits."""
        return tuple(share.sequence for share in self.shares if share.is_sampled)


@dataclass(frozen=True, slots=True)
class Progress:
    """What a step, or a cancellation, did to one sequence: new tokens, its end, or both.

    error: it ended without an answer.
    """

    sequence: Sequence
    token_ids: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    error: LLMasOSError | None = None
