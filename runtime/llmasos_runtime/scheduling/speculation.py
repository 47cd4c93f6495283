"""Speculative decoding: which drafts a step computes beside the tokens that it must.

A draft is verified in the step that computes it: the tokens are sampled as ever, and what
follows the first one that the drafts did not say is dropped (Leviathan et al.,
arXiv:2211.17192). A draw depends on the logits, the seed and the output's index alone, so
the tokens are those that would come without drafts; they come in fewer steps.
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
"""What a step of several tokens costs beyond one of one token, as parts of that: at all, and for
each further token. By the processor's time on two cores with SmolLM2-135M in int8, 2 tokens take
1.15 times as long as one, 9 tokens 1.44 times, 16 tokens of as many sequences twice as long.
Constants, and not what this machine's clock says: the same requests make the same steps."""
_MARGIN = 1.5
"""How much more drafts must be expected to bring than they cost."""
_MOST = 0.9
"""Where each must be likelier to be right than this, none is looked for."""
_NOT_FINITE = "internal error: the network's logits are not finite"


class Speculation:
    """Adds drafts to the shares of decoding sequences while they are likely to pay.

    max_drafts: most drafts of one sequence in a step. num_draft_tokens, num_accepted_tokens:
    drafts that were computed, and those that were right, so far.
    """

    def __init__(self, memory: KVMemory, *, max_drafts: int) -> None:
        self._memory = memory
        self._max_drafts = max_drafts
        self.num_draft_tokens = 0
        self.num_accepted_tokens = 0

    def shares(self, decoding: SequenceOf[Sequence], *, budget: int) -> list[Share]:
        """A share for each; all together compute at most `budget` tokens."""
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
        """Give a sequence what was sampled, as far as it is what the drafts say."""
        before = sequence.num_accepted_tokens
        progress = _take(sequence, drafts, sampled)
        self.num_draft_tokens += len(drafts)
        self.num_accepted_tokens += sequence.num_accepted_tokens - before
        return progress

    def _drafts(
        self, sequence: Sequence, most: int, price: Price, *, num_reserved: int
    ) -> tuple[int, ...]:
        """Its drafts, as far as there is room in its blocks, or in one that can be spared."""
        most = min(most, sequence.max_len - len(sequence.token_ids) - 1)
        if sequence.drafter is None or most < 1:
            return ()
        drafts = sequence.drafter.propose(most=most, price=price)
        past = sequence.num_computed_tokens + 1
        if past + len(drafts) > sequence.capacity and self._memory.num_free > num_reserved:
            self._memory.grow(sequence)
        return drafts[: sequence.capacity - past]


def _price(num_sequences: int) -> Price:
    """What drafts cost in a step of so many sequences; a right one saves a part of a later step."""
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
