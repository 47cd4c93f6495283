"""What one forward of the network computes, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from llmasos.errors import LLMasOSError
from llmasos.outputs import FinishReason

from llmasos_runtime.sampling.sampler import Draw
from llmasos_runtime.sequences.sequence import Sequence


class Share(NamedTuple):
    """The part of a step that one sequence gets: its next `num_tokens` tokens.

    They are pending ones, and behind the last of those perhaps drafts: guesses of what will
    be sampled, which count among num_tokens.
    """

    sequence: Sequence
    num_tokens: int
    draft_token_ids: tuple[int, ...] = ()

    @property
    def is_sampled(self) -> bool:
        """The step reaches the sequence's last token, so the next one can be chosen."""
        num_pending = self.num_tokens - len(self.draft_token_ids)
        return num_pending == self.sequence.num_pending_tokens

    @property
    def num_sampled(self) -> int:
        """At its end, the positions whose next token is sampled: after the last, and each draft."""
        return 1 + len(self.draft_token_ids) if self.is_sampled else 0

    @property
    def token_ids(self) -> list[int]:
        """What is computed."""
        begin = self.sequence.num_computed_tokens
        end = begin + self.num_tokens - len(self.draft_token_ids)
        return [*self.sequence.token_ids[begin:end], *self.draft_token_ids]

    @property
    def draws(self) -> list[Draw]:
        """How each of its positions is sampled: as it would be without the drafts before it."""
        sequence = self.sequence
        first = sequence.num_output_tokens
        return [
            Draw(
                params=sequence.params,
                seed=sequence.seed,
                output_index=index,
                forbidden=sequence.forbidden_token_ids(index),
            )
            for index in range(first, first + self.num_sampled)
        ]


class SlotCopy(NamedTuple):
    """The keys and values of a slot's first tokens, for the slot of a sequence that has them too.

    Slots are KV blocks that hold a whole sequence each.
    """

    source: int
    target: int
    num_tokens: int
    sequence: Sequence


@dataclass(frozen=True, slots=True)
class Step:
    """One forward over the packed tokens of these sequences, prefill and decode mixed.

    num_preempted: sequences that had to give their blocks to these. copies: are done before
    the forward, one after the other.
    """

    shares: tuple[Share, ...]
    num_preempted: int = 0
    copies: tuple[SlotCopy, ...] = ()

    @property
    def num_tokens(self) -> int:
        return sum(share.num_tokens for share in self.shares)

    @property
    def num_decode_tokens(self) -> int:
        return sum(share.num_tokens for share in self.shares if share.sequence.is_decoding)

    @property
    def num_draft_tokens(self) -> int:
        return sum(len(share.draft_token_ids) for share in self.shares)

    @property
    def sampled(self) -> tuple[Sequence, ...]:
        """Whose next token each row of the step's scores is: one's again for each draft."""
        return tuple(share.sequence for share in self.shares for _ in range(share.num_sampled))


class SequenceProgress(NamedTuple):
    """What a step, or a cancellation, did to one sequence: new tokens, its end, or both.

    error: it ended without an answer.
    """

    sequence: Sequence
    token_ids: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    error: LLMasOSError | None = None
