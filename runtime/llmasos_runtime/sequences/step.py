"""One forward of the network and its results."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import NamedTuple

from llmasos.errors import LLMasOSError
from llmasos.outputs import FinishReason

from llmasos_runtime.sampling.decayed_top_p import decayed_top_p
from llmasos_runtime.sampling.report import TokenReport
from llmasos_runtime.sampling.sampler import Draw
from llmasos_runtime.sequences.encoded_text import EncodedText
from llmasos_runtime.sequences.sequence import Sequence


class Share(NamedTuple):
    """The part of a step that one sequence gets: its next `num_tokens` tokens.

    They are pending tokens, perhaps followed by draft tokens, which count among num_tokens.
    """

    sequence: Sequence
    num_tokens: int
    draft_token_ids: tuple[int, ...] = ()

    @property
    def is_sampled(self) -> bool:
        """True if the step reaches the sequence's last token, so that the next one can be
        sampled.
        """
        num_pending = self.num_tokens - len(self.draft_token_ids)
        return num_pending == self.sequence.num_pending_tokens

    @property
    def num_sampled(self) -> int:
        """Number of positions that are sampled: the last token and each draft token."""
        return 1 + len(self.draft_token_ids) if self.is_sampled else 0

    @property
    def token_ids(self) -> list[int]:
        """The tokens that are computed."""
        begin = self.sequence.num_computed_tokens
        end = begin + self.num_tokens - len(self.draft_token_ids)
        return [*self.sequence.token_ids[begin:end], *self.draft_token_ids]

    @property
    def draws(self) -> list[Draw]:
        """The draws of its positions, each as if the drafts before it were accepted."""
        sequence = self.sequence
        first = sequence.num_output_tokens
        return [
            Draw(
                params=sequence.params,
                seed=sequence.seed,
                output_index=first + place,
                wants_logits=sequence.wants_logits,
                forbidden=sequence.forbidden_token_ids(first + place),
                changes=sequence.logit_changes,
                drafts=self.draft_token_ids[:place],
                decayed_top_p=decayed_top_p(
                    sequence.params,
                    sequence.token_ids,
                    begin=sequence.num_prompt_tokens,
                    drafts=self.draft_token_ids[:place],
                ),
            )
            for place in range(self.num_sampled)
        ]


class SlotCopy(NamedTuple):
    """A copy of the keys and values of a block's first tokens to the block of another sequence.

    A slot is a block that holds a whole sequence.
    """

    source: int
    target: int
    num_tokens: int
    sequence: Sequence


@dataclass(frozen=True, slots=True)
class Step:
    """One forward over the packed tokens of these sequences, prefill and decode mixed.

    num_preempted: sequences that were preempted to free blocks for these. copies: done in this
    order before the forward. texts: encoded before the forward.
    """

    shares: tuple[Share, ...]
    num_preempted: int = 0
    copies: tuple[SlotCopy, ...] = ()
    texts: tuple[EncodedText, ...] = ()

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
        """The sequence of each row of the step's scores; it repeats for each draft token."""
        return tuple(share.sequence for share in self.shares for _ in range(share.num_sampled))


class SequenceProgress(NamedTuple):
    """The effect of a step or a cancellation on one sequence: new tokens, its end, or both.

    error: set if it ended without an answer. reports: of each token, if they were asked for.
    """

    sequence: Sequence
    token_ids: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    error: LLMasOSError | None = None
    reports: tuple[TokenReport, ...] = ()

    def with_reports(self, reports: SequenceOf[TokenReport | None]) -> SequenceProgress:
        """Returns it with those of its tokens. reports: of these, and of drafts after them."""
        own = reports[: len(self.token_ids)]
        return self._replace(reports=tuple(report for report in own if report is not None))
