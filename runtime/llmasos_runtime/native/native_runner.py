"""Runs steps on the CPU with machine code that was made when the plan was built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmasos_runtime.capabilities import Capabilities
from llmasos_runtime.native.forward import NativeForward, NativeModel
from llmasos_runtime.packing import SAMPLED_POSITIONS, Inputs, advance, pack
from llmasos_runtime.sampling.report import TokenReport
from llmasos_runtime.sampling.sampler import Draw, takes_the_likeliest
from llmasos_runtime.sampling.scores import Logits, Scores
from llmasos_runtime.sequences.sequence import Sequence as TokenSequence
from llmasos_runtime.sequences.step import Step

_MAX_DRAFT_TOKENS = 12
"""Of one sequence in a step: any number is exact, and more seldom pay."""


@dataclass(frozen=True, slots=True)
class Likeliest:
    """Scores of a step in which every token is the likeliest one: they are known already."""

    token_ids: list[int]

    def sample(self, draws: Sequence[Draw]) -> list[int | None]:
        """See Scores."""
        assert all(map(takes_the_likeliest, draws))
        return list(self.token_ids[: len(draws)])

    def report(
        self, draws: Sequence[Draw], token_ids: Sequence[int | None]
    ) -> list[TokenReport | None]:
        """See Scores: a draw of which more is to be known takes the logits."""
        assert not any(draw.is_reported for draw in draws)
        return [None for _ in token_ids]


class NativeRunner:
    """One KV cache; steps run one at a time.

    The thread that waits for a step computes a part of it, so that what is done between `start`
    and `wait` is done before the step. num_blocks: the KV cache's size; its memory is taken from
    the system when it is first used.
    """

    def __init__(self, model: NativeModel, *, num_blocks: int) -> None:
        self._capabilities = Capabilities(
            num_blocks=num_blocks,
            block_size=model.block_size,
            chunk_multiple=model.chunk_multiple,
            max_draft_tokens=_MAX_DRAFT_TOKENS,
            copies_blocks=True,
        )
        self._forward: NativeForward = model.forward(num_blocks=num_blocks)
        self._inputs: Inputs = {}
        self._decoded: list[TokenSequence] = []  # by the last step, a token each, if it did no more
        self._is_greedy = False
        self._stays = False

    @property
    def capabilities(self) -> Capabilities:
        """See ModelRunner."""
        return self._capabilities

    def start(self, step: Step) -> None:
        """See ModelRunner."""
        self._forward.copy(step.copies)
        sequences = [share.sequence for share in step.shares]
        if step.num_decode_tokens == step.num_tokens == len(sequences):
            follows, self._decoded = sequences == self._decoded, sequences
        else:
            follows, self._decoded = False, []
        if follows:
            self._inputs.update(
                advance(self._inputs, step, block_size=self._capabilities.block_size)
            )
        else:
            self._inputs = pack(step, block_size=self._capabilities.block_size)
        if not step.sampled:
            self._inputs[SAMPLED_POSITIONS] = np.empty(0, np.int64)
        draws = (draw for share in step.shares for draw in share.draws)
        self._is_greedy = all(map(takes_the_likeliest, draws))

    def wait(self) -> Scores:
        """See ModelRunner."""
        if not self._stays:
            self._forward.stay()
            self._stays = True
        if self._is_greedy:
            found = self._forward.likeliest(self._inputs)
            if found is not None:
                return Likeliest(found)
        return Logits(self._forward.logits(self._inputs))

    def close(self) -> None:
        """See ModelRunner."""
        self._forward.close()
