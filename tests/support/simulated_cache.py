"""A KV cache that knows what it holds."""

from __future__ import annotations

from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import Step
from made_sequences import BLOCK_SIZE


class SimulatedCache:
    """What each place of the cache holds: all tokens up to the one that was written there."""

    def __init__(self) -> None:
        self._content: dict[tuple[int, int], tuple[int, ...]] = {}

    def run(self, step: Step) -> None:
        """Every sequence writes its share and then reads what is its own, and nothing else."""
        written: set[tuple[int, int]] = set()
        for share in step.shares:
            past = share.sequence.num_computed_tokens
            tokens = (*share.sequence.token_ids[:past], *share.token_ids)
            assert len(tokens) == past + share.num_tokens
            for position in range(past, len(tokens)):
                place = self._place(share.sequence, position)
                assert place not in written, "two sequences write to one place"
                written.add(place)
                self._content[place] = tokens[: position + 1]
        for share in step.shares:
            past = share.sequence.num_computed_tokens
            tokens = (*share.sequence.token_ids[:past], *share.token_ids)
            for position in range(len(tokens)):
                expected = tokens[: position + 1]
                assert self._content[self._place(share.sequence, position)] == expected

    def _place(self, sequence: Sequence, position: int) -> tuple[int, int]:
        return sequence.block_table[position // BLOCK_SIZE], position % BLOCK_SIZE
