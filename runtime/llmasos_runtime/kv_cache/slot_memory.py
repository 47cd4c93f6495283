"""A KV cache of whole slots, in which known prefixes are copied instead of shared.

A slot is a block as long as max_seq_len, so two sequences never share one. A new sequence whose
first tokens are in another slot (in use, or free and not reused since) gets their keys and
values copied before its first step and computes the rest. If a free slot holds nothing but its
prefix, as when a chat goes on, the sequence gets that slot and nothing is copied. Tokens are
compared themselves.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from itertools import compress, count
from operator import ne

from llmasos_runtime.sequences.encoded_text import EncodedText
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import SlotCopy


class SlotMemory:
    """Implements `KVMemory`: each sequence has one block, its slot.

    min_copied_tokens: shorter prefixes are computed, since a copy would not pay.

    A slot's tokens are those whose keys and values it certainly holds: those computed by finished
    steps, and those that the copies before the next step bring. A free slot keeps them until it is
    allocated again. Free slots are ordered by when they were freed, empty ones first.

    A step computes all slots from the first in use to the last, in a power of two of rows. So a
    sequence gets the slot that adds the fewest rows; of those an empty one, or else the one that
    has been free for longest.
    """

    def __init__(self, *, num_slots: int, slot_size: int, min_copied_tokens: int) -> None:
        assert min_copied_tokens >= 1
        self._tokens: list[list[int]] = [[] for _ in range(num_slots)]
        self._free = list(range(num_slots))
        self._min_copied_tokens = min_copied_tokens
        self._copies: list[SlotCopy] = []
        self.block_size = slot_size
        self.num_reused_blocks = 0

    @property
    def num_blocks(self) -> int:
        return len(self._tokens)

    @property
    def num_free(self) -> int:
        """See `KVMemory`."""
        return len(self._free)

    def allocate(self, sequence: Sequence, *, num_reserved: int) -> bool:
        """See `KVMemory`. Its beginning may count as computed before it is copied."""
        if len(self._free) <= num_reserved:
            return False
        assert sequence.max_cached_tokens <= self.block_size
        source, target, num_known = self._places(sequence.token_ids[:-1])
        if num_known and source != target:
            self._copies.append(SlotCopy(source, target, num_known, sequence))
        self._free.remove(target)
        self._tokens[target] = sequence.token_ids[:num_known]
        sequence.block_table = [target]
        sequence.capacity = self.block_size
        sequence.num_prefill_tokens = len(sequence.token_ids)
        sequence.num_computed_tokens = num_known
        if not sequence.num_preemptions:
            sequence.num_cached_tokens = num_known
        self.num_reused_blocks += num_known > 0
        return True

    def grow(self, sequence: Sequence) -> None:
        """Always fails: a slot is as long as a sequence can be."""
        raise AssertionError(f"{sequence.request_id} has a whole slot")

    def free(self, sequence: Sequence) -> None:
        """See `KVMemory`; its slot keeps what it holds."""
        (slot,) = sequence.block_table
        self._free.insert(len(self._free) if self._tokens[slot] else 0, slot)

    def remember(self, sequence: Sequence) -> None:
        """See `KVMemory`."""
        tokens = self._tokens[sequence.block_table[0]]
        tokens += sequence.token_ids[len(tokens) : sequence.num_computed_tokens]

    def take_copies(self) -> tuple[SlotCopy, ...]:
        """See `KVMemory`."""
        copies = tuple(self._copies)
        self._copies.clear()
        return copies

    def take_texts(self) -> tuple[EncodedText, ...]:
        """Returns nothing: no engine with slots has an encoder."""
        return ()

    def _places(self, wanted: list[int]) -> tuple[int, int, int]:
        """Returns the slot with most of the wanted tokens, the slot to use, and how many it
        shares.
        """
        num_rows = self._rows_with()
        target = min(self._free, key=lambda slot: (num_rows[slot], bool(self._tokens[slot])))
        known = [common_length(tokens, wanted) for tokens in self._tokens]
        whole = {
            slot
            for slot in self._free
            if known[slot] == len(self._tokens[slot]) and num_rows[slot] <= num_rows[target]
        }
        source = max(range(len(known)), key=lambda s: (known[s], s in whole, s == target))
        if source in whole:
            return source, source, known[source]
        if known[source] < self._min_copied_tokens:
            source = target
        return source, target, known[source]

    def _rows_with(self) -> list[int]:
        """For each slot, the rows of a step that computes it and all slots in use."""
        in_use = set(range(len(self._tokens))).difference(self._free)
        first, last = min(in_use, default=self.num_blocks), max(in_use, default=-1)
        ends = ((min(first, slot), max(last, slot)) for slot in range(len(self._tokens)))
        return [1 << (end - begin).bit_length() for begin, end in ends]


def common_length(left: SequenceOf[int], right: SequenceOf[int]) -> int:
    """The number of tokens that both begin with."""
    shorter = min(len(left), len(right))
    return next(compress(count(), map(ne, left, right)), shorter)
