"""Packs a step into launches: one for all rows of one token, and one or more for each longer row.

It cannot use `llmasos_runtime.packing`: a TensorRT engine has no block table and takes no packed
tokens, but padded rows of equal length over neighbouring slots, with idle rows between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from llmasos.engine.engine_io import DECODE_PROFILE, PREFILL_PROFILE

from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import Share, Step
from llmasos_runtime.tensorrt.launch import Launch

PADDED_TO = 32
"""A prefill is padded to a multiple of this, so that TensorRT sees few lengths."""


@dataclass(frozen=True, slots=True)
class PackedStep:
    """launches: in the order in which they must run. rows: for each sequence that gets a token, in
    the order of `step.sampled`, its row among all that the launches return.
    """

    launches: list[Launch]
    rows: list[int]


class Packer:
    """Packs steps; it knows the owner of each slot, so that an idle row spoils nothing.

    A decode launch covers neighbouring slots. Slots in between that take no part compute a token
    too, written where the next token of the slot's sequence goes: the owner overwrites it before
    reading it. The same holds for a sequence that has ended, so that its tokens can be reused;
    position 0 is safe in a slot that nobody has used. The place may be that of the first token of
    this very step's prefill, so decode goes first.

        slot    0        1             2               3             4
        owner   a        b (prefill)   c, has ended    nobody yet    d
        row     token    idle at       idle at         idle          token
                of a     b's end       c's end         at 0          of d

    num_slots: slots of the KV cache. prefill_length: the most tokens of one row.
    """

    def __init__(self, *, num_slots: int, max_seq_len: int, prefill_length: int) -> None:
        self._num_slots = num_slots
        self._max_seq_len = max_seq_len
        self._prefill_length = prefill_length
        self._owners: dict[int, Sequence] = {}

    def pack(self, step: Step) -> PackedStep:
        """Packs a step, every share of which has a slot of its own."""
        slots = [share.sequence.block_table[0] for share in step.shares]
        assert len(set(slots)) == len(slots), f"two sequences of a step share a slot: {slots}"
        shares = dict(zip(slots, step.shares, strict=True))
        assert not step.num_draft_tokens, "a launch returns one position of each row"
        self._owners.update({copy.target: copy.sequence for copy in step.copies})
        self._owners.update({slot: share.sequence for slot, share in shares.items()})
        launches: list[Launch] = []
        rows: dict[int, int] = {}
        single = {slot: share for slot, share in shares.items() if share.num_tokens == 1}
        if single:
            decode = self._decode(single)
            launches.append(decode)
            rows = {slot: slot - decode.first_slot for slot in single}
        num_rows = sum(launch.num_rows for launch in launches)
        for slot, share in shares.items():
            if share.num_tokens > 1:
                launches += self._prefill(slot, share, num_rows)
                num_rows = launches[-1].first_row + 1
                rows[slot] = num_rows - 1
        wanted = [rows[slot] for slot, share in shares.items() if share.is_sampled]
        return PackedStep(launches, wanted)

    def _decode(self, shares: Mapping[int, Share]) -> Launch:
        first, num_rows = self._span(min(shares), max(shares))
        tokens, begins = np.zeros((2, num_rows), np.int32)
        for row, slot in enumerate(range(first, first + num_rows)):
            if slot in shares:
                sequence = shares[slot].sequence
                begins[row] = sequence.num_computed_tokens
                tokens[row] = sequence.token_ids[sequence.num_computed_tokens]
            else:
                begins[row] = self._harmless_index(slot)
        return Launch(
            profile=DECODE_PROFILE,
            first_slot=first,
            first_row=0,
            input_ids=tokens[:, None],
            position_ids=begins[:, None],
            kv_write_index=begins,
            last_token_index=np.arange(num_rows, dtype=np.int32),
        )

    def _span(self, lowest: int, highest: int) -> tuple[int, int]:
        """Returns the first slot and the number of rows, one of a few numbers that repeat."""
        num_rows = bucket(highest - lowest + 1, self._num_slots)
        first = 0 if highest < num_rows else min(lowest, self._num_slots - num_rows)
        return first, num_rows

    def _harmless_index(self, slot: int) -> int:
        owner = self._owners.get(slot)
        if owner is None or owner.block_table != [slot]:
            return 0
        return owner.num_computed_tokens

    def _prefill(self, slot: int, share: Share, first_row: int) -> list[Launch]:
        """Returns chunks of the share; only the result of the last one counts."""
        sequence = share.sequence
        begin, end = sequence.num_computed_tokens, sequence.num_computed_tokens + share.num_tokens
        chunks = [
            (at, min(at + self._prefill_length, end))
            for at in range(begin, end, self._prefill_length)
        ]
        return [
            self._chunk(slot, sequence.token_ids[at:stop], at, first_row + number)
            for number, (at, stop) in enumerate(chunks)
        ]

    def _chunk(self, slot: int, token_ids: list[int], begin: int, first_row: int) -> Launch:
        count = len(token_ids)
        padded = -(-count // PADDED_TO) * PADDED_TO
        length = max(count, min(padded, self._prefill_length, self._max_seq_len - begin))
        return Launch(
            profile=PREFILL_PROFILE,
            first_slot=slot,
            first_row=first_row,
            input_ids=np.array([token_ids + [0] * (length - count)], np.int32),
            position_ids=np.arange(begin, begin + length, dtype=np.int32)[None],
            kv_write_index=np.array([begin], np.int32),
            last_token_index=np.array([count - 1], np.int32),
        )


def bucket(num_rows: int, num_slots: int) -> int:
    """The next power of two, or all slots."""
    return min(1 << (num_rows - 1).bit_length(), num_slots)
