"""Which blocks of the KV cache each sequence has, and what of them others may use."""

from __future__ import annotations

from typing import Protocol

from llmasos_runtime.capabilities import Capabilities
from llmasos_runtime.kv_cache.block_memory import BlockMemory
from llmasos_runtime.kv_cache.slot_memory import SlotMemory
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import SlotCopy


class KVMemory(Protocol):
    """Gives blocks to sequences and takes them back.

    block_size: tokens of a block. num_free: blocks that no sequence has; some may hold
    beginnings that can be used again. num_reused_blocks: in which something was found and not
    computed, so far.
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
        """Blocks for the tokens that it has; those of a known beginning count as computed.

        False, and nothing is given, unless num_reserved blocks are free then, and one more for
        the sequence itself if it may grow.
        """
        ...

    def grow(self, sequence: Sequence) -> None:
        """One more block; the caller checks `num_free` before."""
        ...

    def free(self, sequence: Sequence) -> None:
        """Free its blocks. What others may use of them is the first to be lost at its end."""
        ...

    def remember(self, sequence: Sequence) -> None:
        """Let others use what is computed of it now."""
        ...

    def take_copies(self) -> tuple[SlotCopy, ...]:
        """What the runner must copy before the next step, in this order."""
        ...


def kv_memory(capabilities: Capabilities, *, reuse_prefixes: bool) -> KVMemory:
    """The memory of a runner with these capabilities: slots if it copies prefixes, else blocks."""
    num_blocks, block_size = capabilities.num_blocks, capabilities.block_size
    min_copied_tokens = capabilities.min_copied_tokens
    if reuse_prefixes and min_copied_tokens is not None:
        return SlotMemory(
            num_slots=num_blocks, slot_size=block_size, min_copied_tokens=min_copied_tokens
        )
    return BlockMemory(num_blocks=num_blocks, block_size=block_size, reuse_prefixes=reuse_prefixes)
