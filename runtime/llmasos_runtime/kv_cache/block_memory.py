"""A paged KV cache whose blocks of known prefixes are shared (prefix caching)."""

from __future__ import annotations

from llmasos_runtime.kv_cache.blocks import BlockPool, blocks_for
from llmasos_runtime.kv_cache.encoded_texts import EncodedTexts
from llmasos_runtime.kv_cache.prefix_cache import Prefix, PrefixCache
from llmasos_runtime.kv_cache.tails import Tail, Tails
from llmasos_runtime.sequences.encoded_text import EncodedText
from llmasos_runtime.sequences.sequence import ROOT, Sequence
from llmasos_runtime.sequences.step import SlotCopy


class BlockMemory:
    """Implements `KVMemory`: a sequence has blocks for its tokens and gets more as it grows.

    A sequence of an encoder-decoder also has blocks for its encoder's text, which sequences of the
    same text share.
    """

    def __init__(
        self,
        *,
        num_blocks: int,
        block_size: int,
        reuse_prefixes: bool,
        max_text_tokens: int = 1 << 31,
        copies_blocks: bool = False,
    ) -> None:
        """max_text_tokens: tokens of the texts that one step encodes, unless it is one text.
        copies_blocks: whether the runner copies parts of blocks (`Tails`).
        """
        self._prefixes = PrefixCache(block_size) if reuse_prefixes else None
        self._pool = BlockPool(num_blocks, forget=self._forget)
        self.block_size = block_size
        self._texts = EncodedTexts()
        self._tails = Tails() if copies_blocks and reuse_prefixes else None
        self._copies: list[SlotCopy] = []
        self._max_text_tokens = max_text_tokens
        self._to_encode: list[EncodedText] = []
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
        text = self._texts.find(sequence.encoder_token_ids)
        if text is None and not self._may_encode(sequence.encoder_token_ids):
            return False
        prefix = self._find(sequence, after=ROOT if text is None else text.number)
        shared = prefix.blocks if text is None else [*text.blocks, *prefix.blocks]
        num_blocks = blocks_for(len(sequence.token_ids), self.block_size)
        num_new = num_blocks - len(prefix.blocks)
        num_text = 0
        if text is None:
            num_text = blocks_for(len(sequence.encoder_token_ids), self.block_size)
        num_left = pool.num_free - num_new - num_text - sum(map(pool.is_free, shared))
        capacity = num_blocks * self.block_size
        if num_left < num_reserved + (capacity < sequence.max_cached_tokens):
            return False
        pool.share(shared)
        if num_text:
            text = self._new_text(sequence.encoder_token_ids, pool.allocate(num_text))
            prefix = prefix._replace(number=text.number)
        sequence.encoder_table = [] if text is None else list(text.blocks)
        sequence.block_table = prefix.blocks + pool.allocate(num_new)
        sequence.capacity = capacity
        sequence.prefix_number = prefix.number
        sequence.num_known_blocks = len(prefix.blocks)
        sequence.num_prefill_tokens = len(sequence.token_ids)
        sequence.num_computed_tokens = len(prefix.blocks) * self.block_size + self._go_on(sequence)
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
        keep = None if self._prefixes is None else self._is_kept
        self._remember_tail(sequence)
        self._pool.release(reversed(sequence.block_table), keep=keep)
        self._pool.release(reversed(sequence.encoder_table), keep=keep)
        sequence.encoder_table = []

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
        """The parts of blocks with which sequences go on; whole blocks are shared."""
        copies = tuple(self._copies)
        self._copies.clear()
        return copies

    def take_texts(self) -> tuple[EncodedText, ...]:
        """See `KVMemory`."""
        texts = tuple(self._to_encode)
        self._to_encode.clear()
        return texts

    def _may_encode(self, token_ids: tuple[int, ...]) -> bool:
        waiting = sum(len(text.token_ids) for text in self._to_encode)
        return not waiting or waiting + len(token_ids) <= self._max_text_tokens

    def _new_text(self, token_ids: tuple[int, ...], blocks: list[int]) -> EncodedText:
        """A text that the next step encodes; others share it if prefixes are shared."""
        number = ROOT if self._prefixes is None else self._prefixes.new_root()
        text = EncodedText(token_ids, tuple(blocks), number)
        self._to_encode.append(text)
        if self._prefixes is not None:
            self._texts.add(text)
        return text

    def _find(self, sequence: Sequence, *, after: int) -> Prefix:
        if self._prefixes is None or (sequence.encoder_token_ids and after == ROOT):
            return Prefix([], ROOT)
        return self._prefixes.find(sequence.token_ids, after=after)

    def _go_on(self, sequence: Sequence) -> int:
        """Copies what an ended sequence left behind the known prefix; returns its tokens."""
        if self._tails is None:
            return 0
        known = sequence.num_known_blocks
        rest = sequence.token_ids[known * self.block_size :]
        tail = self._tails.find(sequence.prefix_number, rest[: self.block_size + 1])
        if tail is None:
            return 0
        count, target = len(tail.token_ids), sequence.block_table[known]
        self._copies.append(SlotCopy(tail.block, target, count, sequence))
        return count

    def _remember_tail(self, sequence: Sequence) -> None:
        known = sequence.num_known_blocks
        begin, end = known * self.block_size, sequence.num_computed_tokens
        if self._tails is None or not 0 < end - begin < self.block_size:
            return
        tokens = tuple(sequence.token_ids[begin:end])
        self._tails.add(Tail(sequence.prefix_number, tokens, sequence.block_table[known]))

    def _is_kept(self, block: int) -> bool:
        assert self._prefixes is not None
        is_tail = self._tails is not None and block in self._tails
        return is_tail or block in self._prefixes or block in self._texts

    def _forget(self, block: int) -> None:
        assert self._prefixes is not None
        if self._tails is not None and self._tails.forget(block):
            return
        if not self._texts.forget(block):
            self._prefixes.forget(block)
