"""A paged KV cache whose blocks of known prefixes are shared (prefix caching)."""

from __future__ import annotations

from llmasos_runtime.kv_cache.blocks import BlockPool, blocks_for
from llmasos_runtime.kv_cache.prefix_cache import Prefix, PrefixCache
from llmasos_runtime.sequences.sequence import ROOT, Sequence
from llmasos_runtime.sequences.step import SlotCopy


class BlockMemory:
    """Implements `KVMemory`: a sequence has blocks for its tokens and gets more as it grows."""

    def __init__(self, *, num_blocks: int, block_size: int, reuse_prefixes: bool) -> None:
        self._prefixes = PrefixCache(block_size) if reuse_prefixes else None
        self._pool = BlockPool(num_blocks, forget=self._forget)
        self.block_size = block_size
        self.num_reused_blocks = 0

    @property
    def num_blocks(self) -> int:
        return self._pool.num_blocks

    @property
    def num_free(self) -> int:
        """See `KVMemory`."""
        return self._pool.num_free

    def allocate(self, sequence: Sequence, *, num_reserved: int) -> bool:
        """See `KVMemory`; the blocks of a known beginning first."""
        pool = self._pool
        if pool.num_free <= num_reserved:
            return False
        prefix = self._find(sequence)
        num_blocks = blocks_for(len(sequence.token_ids), self.block_size)
        num_new = num_blocks - len(prefix.blocks)
        num_left = pool.num_free - num_new - sum(map(pool.is_free, prefix.blocks))
        capacity = num_blocks * self.block_size
        if num_left < num_reserved + (capacity < sequence.max_cached_tokens):
            return False
        pool.share(prefix.blocks)
        sequence.block_table = prefix.blocks + pool.allocate(num_new)
        sequence.capacity = capacity
        sequence.prefix_number = prefix.number
        sequence.num_known_blocks = len(prefix.blocks)
        sequence.num_prefill_tokens = len(sequence.token_ids)
        sequence.num_computed_tokens = len(prefix.blocks) * self.block_size
        if not sequence.num_preemptions:
            sequence.num_cached_tokens = sequence.num_computed_tokens
        self.num_reused_blocks += len(prefix.blocks)
        return True

    def grow(self, sequence: Sequence) -> None:
        """See `KVMemory`."""
        sequence.block_table += self._pool.allocate(1)
        sequence.capacity += self.block_size

    def free(self, sequence: Sequence) -> None:
        """Frees its blocks; of those kept for prefix caching, the last is evicted first."""
        known = self._prefixes
        keep = None if known is None else known.__contains__
        self._pool.release(reversed(sequence.block_table), keep=keep)

    def remember(self, sequence: Sequence) -> None:
        """See `KVMemory`: its blocks that are full of computed tokens now."""
        if self._prefixes is None:
            return
        size = self.block_size
        for index in range(sequence.num_known_blocks, sequence.num_computed_tokens // size):
            tokens = sequence.token_ids[index * size : (index + 1) * size]
            block = sequence.block_table[index]
            sequence.prefix_number = self._prefixes.add(sequence.prefix_number, tokens, block)
            sequence.num_known_blocks = index + 1

    def take_copies(self) -> tuple[SlotCopy, ...]:
        """Returns nothing: shared blocks need no copies."""
        return ()

    def _find(self, sequence: Sequence) -> Prefix:
        if self._prefixes is None:
            return Prefix([], ROOT)
        return self._prefixes.find(sequence.token_ids)

    def _forget(self, block: int) -> None:
        assert self._prefixes is not None
        self._prefixes.forget(block)
