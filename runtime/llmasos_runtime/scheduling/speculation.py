"""Speculative decoding by prompt lookup: chooses the draft tokens that a step verifies.

Draft tokens are verified in the step that computes them: every position is sampled as usual, and
everything after the first mismatch is dropped (Leviathan et al., arXiv:2211.17192). A draw depends
only on the logits, the seed and the output's index, so the tokens are the same as without
drafts; they come in fewer steps.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from itertools import zip_longest

from llmasos.errors import LLMasOSError
from llmasos.outputs import FinishReason

from llmasos_runtime.kv_cache.kv_memory import KVMemory
from llmasos_runtime.sequences.drafter import Price
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import SequenceProgress, Share

_FIRST_COST = 0.1
_ROW_COST = 0.06
"""The extra cost of a step of several tokens, relative to a step of one token: a fixed part, and a
part for each further token. In processor time on two cores with SmolLM2-135M in int8, 2 tokens
take 1.15 times as long as one, 9 tokens 1.44 times, and 16 tokens of as many sequences twice as
long. The costs are constants instead of measurements, so that the same requests make the same
steps.
"""
_MARGIN = 1.5
"""The required ratio of expected benefit to cost of draft tokens."""
_MOST = 0.9
"""No drafts are made if each would need a higher acceptance probability than this."""
_NOT_FINITE = "internal error: the network's logits are not finite"


class Speculation:
    """Adds draft tokens to the shares of decoding sequences while they are likely to pay.

    max_drafts: most draft tokens of one sequence in a step. num_draft_tokens, num_accepted_tokens:
    draft tokens computed and accepted so far.
    """

    def __init__(self, memory: KVMemory, *, max_drafts: int) -> None:
        self._memory = memory
        self._max_drafts = max_drafts
        self.num_draft_tokens = 0
        self.num_accepted_tokens = 0

    def shares(self, decoding: SequenceOf[Sequence], *, budget: int) -> list[Share]:
        """Returns a share for each sequence; together they compute at most `budget` tokens."""
        price = _price(len(decoding))
        if price.each > _MOST:
            return [Share(sequence, 1) for sequence in decoding]
        shares: list[Share] = []
        num_left = budget - len(decoding)
        for sequence in decoding:
            most = min(num_left, self._max_drafts)
            drafts = self._drafts(sequence, most, price, num_reserved=len(decoding))
            num_left -= len(drafts)
            shares.append(Share(sequence, 1 + len(drafts), drafts))
        return shares

    def take(
        self, sequence: Sequence, drafts: tuple[int, ...], sampled: SequenceOf[int | None]
    ) -> SequenceProgress:
        """Appends the sampled tokens to a sequence, up to the first that differs from its draft."""
        before = sequence.num_accepted_tokens
        progress = _take(sequence, drafts, sampled)
        self.num_draft_tokens += len(drafts)
        self.num_accepted_tokens += sequence.num_accepted_tokens - before
        return progress

    def _drafts(
        self, sequence: Sequence, most: int, price: Price, *, num_reserved: int
    ) -> tuple[int, ...]:
        """Returns its draft tokens, as far as they fit into its blocks or into a spare one."""
        most = min(most, sequence.max_len - len(sequence.token_ids) - 1)
        if sequence.drafter is None or most < 1:
            return ()
        drafts = sequence.drafter.propose(most=most, price=price)
        past = sequence.num_computed_tokens + 1
        if past + len(drafts) > sequence.capacity and self._memory.num_free > num_reserved:
            self._memory.grow(sequence)
        return drafts[: sequence.capacity - past]


def _price(num_sequences: int) -> Price:
    """The price of drafts in a step of this many sequences; an accepted one saves part of a
    step.
    """
    first = _FIRST_COST if num_sequences == 1 else 0.0
    step = 1 + _FIRST_COST - first + _ROW_COST * (num_sequences - 1)
    tokens = _MARGIN * num_sequences / step
    return Price(first=tokens * first, each=tokens * _ROW_COST)


def _take(
    sequence: Sequence, drafts: tuple[int, ...], sampled: SequenceOf[int | None]
) -> SequenceProgress:
    taken: list[int] = []
    sequence.num_draft_tokens += len(drafts)
    for token_id, draft in zip_longest(sampled, drafts):
        if token_id is None:
            sequence.finish_reason = FinishReason.ABORT
            return SequenceProgress(sequence, error=LLMasOSError(_NOT_FINITE))
        sequence.append(token_id)
        taken.append(token_id)
        if token_id != draft:
            break
        sequence.num_accepted_tokens += 1
        if sequence.finish_reason is not None:
            break
    return SequenceProgress(sequence, tuple(taken), sequence.finish_reason)
