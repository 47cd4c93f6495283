"""The interface of KV cache memory: allocates blocks to sequences and shares prefixes."""

from __future__ import annotations

from typing import Protocol

from llmasos.engine.plan import Limits

from llmasos_runtime.capabilities import Capabilities
from llmasos_runtime.kv_cache.block_memory import BlockMemory
from llmasos_runtime.kv_cache.slot_memory import SlotMemory
from llmasos_runtime.sequences.encoded_text import EncodedText
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import SlotCopy


class KVMemory(Protocol):
    """Allocates blocks to sequences and frees them.

    block_size: tokens of a block. num_free: blocks in no sequence; some may hold prefixes that can
    be reused. num_reused_blocks: blocks so far whose tokens were found in the prefix cache.
    """

    @property
    def block_size(self) -> int: ...
    @property
    def num_blocks(self) -> int: ...
    @property
    def num_free(self) -> int: ...
    @property
    def num_reused_blocks(self) -> int: ...

    def allocate(self, sequence: Sequence, *, num_reserved: int) -> bool:
        """Allocates blocks for the tokens of a sequence; tokens of a cached prefix count as
        computed.

        Allocates only if num_reserved blocks (plus one if the sequence can grow) stay free; else
        returns False.
        """
        ...

    def grow(self, sequence: Sequence) -> None:
        """Allocates one more block; the caller checks `num_free` before."""
        ...

    def free(self, sequence: Sequence) -> None:
        """Frees its blocks. Of those kept for prefix caching, the last is evicted first."""
        ...

    def remember(self, sequence: Sequence) -> None:
        """Adds the tokens that it has computed so far to the prefix cache."""
        ...

    def take_copies(self) -> tuple[SlotCopy, ...]:
        """The copies that the runner must make before the next step, in this order."""
        ...

    def take_texts(self) -> tuple[EncodedText, ...]:
        """The texts that the runner must encode before the next step."""
        ...


def kv_memory(capabilities: Capabilities, limits: Limits, *, reuse_prefixes: bool) -> KVMemory:
    """Makes the memory for a runner: slots if it copies prefixes, else blocks.

    limits: those of the engine.
    """
    num_blocks, block_size = capabilities.num_blocks, capabilities.block_size
    min_copied_tokens = capabilities.min_copied_tokens
    if reuse_prefixes and min_copied_tokens is not None:
        return SlotMemory(
            num_slots=num_blocks, slot_size=block_size, min_copied_tokens=min_copied_tokens
        )
    return BlockMemory(
        num_blocks=num_blocks,
        block_size=block_size,
        reuse_prefixes=reuse_prefixes,
        max_text_tokens=limits.max_num_tokens,
        copies_blocks=capabilities.copies_blocks,
    )
