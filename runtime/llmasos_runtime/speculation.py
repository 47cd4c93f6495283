"""Speculative decoding: which drafts a step computes beside the tokens that it must.

A draft is verified in the step that computes it: the tokens are sampled as ever, and what
follows the first one that the drafts did not say is dropped (Leviathan et al.,
arXiv:2211.17192). A draw depends on the logits, the seed and the output's index alone, so
the tokens are those that would come without drafts; they come in fewer steps.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

from llmasos_runtime.kv_memory import KVMemory
from llmasos_runtime.sequence import Sequence
from llmasos_runtime.step import Share

_ROW_COST = 0.08
"""What a further token adds to a step, as a part of a step of one token. Measured on two cores
with SmolLM2-135M in int8: 8 tokens take 1.5 times as long as one, 32 take 2.8 times. A constant,
and not what this machine's clock says: so that the same requests make the same steps."""
_MARGIN = 1.25
"""How much more a draft must be likely to bring than it costs."""


class Speculation:
    """Adds drafts to the shares of decoding sequences while they are likely to pay.

    max_drafts: most drafts of one sequence in a step.
    """

    def __init__(self, memory: KVMemory, *, max_drafts: int) -> None:
        self._memory = memory
        self._max_drafts = max_drafts

    def shares(self, decoding: SequenceOf[Sequence], *, budget: int) -> list[Share]:
        """A share for each; all together compute at most `budget` tokens."""
        least_chance = _least_chance(len(decoding))
        if least_chance >= 1:
            return [Share(sequence, 1) for sequence in decoding]
        shares: list[Share] = []
        num_left = budget - len(decoding)
        for sequence in decoding:
            most = min(num_left, self._max_drafts)
            drafts = self._drafts(sequence, most, least_chance, num_spared=len(decoding))
            num_left -= len(drafts)
            shares.append(Share(sequence, 1 + len(drafts), drafts))
        return shares

    def _drafts(
        self, sequence: Sequence, most: int, least_chance: float, *, num_spared: int
    ) -> tuple[int, ...]:
        """Its drafts, as far as there is room in its blocks, or in one that can be spared."""
        most = min(most, sequence.max_len - len(sequence.token_ids) - 1)
        if sequence.drafter is None or most < 1:
            return ()
        drafts = sequence.drafter.propose(most=most, least_chance=least_chance)
        past = sequence.num_computed_tokens + 1
        if past + len(drafts) > sequence.capacity and self._memory.num_free > num_spared:
            self._memory.grow(sequence)
        return drafts[: sequence.capacity - past]


def _least_chance(num_sequences: int) -> float:
    """How likely a draft must be right to be worth its cost, in a step of so many sequences.

    A right one saves its sequence's part of a later step.
    """
    step_cost = 1 + _ROW_COST * (num_sequences - 1)
    return _MARGIN * _ROW_COST * num_sequences / step_cost
