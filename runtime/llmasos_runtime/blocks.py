"""The KV cache as blocks of equal size, lent to sequences and counted."""

from __future__ import annotations

from collections.abc import Iterable


def blocks_for(num_tokens: int, block_size: int) -> int:
    """How many blocks hold this many tokens."""
    return -(-num_tokens // block_size)


class BlockPool:
    """Hands out block ids in [0, num_blocks).

    A block has one reference for each table that it stands in and is free when it has none:
    num_free == the number of blocks without a reference. The block freed last is handed out
    first, so that a quiet engine touches little memory.
    """

    def __init__(self, num_blocks: int) -> None:
        if num_blocks < 1:
            raise ValueError(f"num_blocks must be at least 1, got {num_blocks}")
        self._references = [0] * num_blocks
        self._free = list(range(num_blocks - 1, -1, -1))

    @property
    def num_blocks(self) -> int:
        return len(self._references)

    @property
    def num_free(self) -> int:
        return len(self._free)

    def allocate(self, count: int) -> list[int]:
        """Take free blocks, each with one reference; the caller checks `num_free` before."""
        assert 0 <= count <= self.num_free, f"{count} blocks asked for, {self.num_free} are free"
        taken = [self._free.pop() for _ in range(count)]
        for block in taken:
            self._references[block] = 1
        return taken

    def share(self, blocks: Iterable[int]) -> None:
        """Add a reference to blocks that are in use, for another table."""
        for block in blocks:
            assert self._references[block] > 0, f"block {block} is free"
            self._references[block] += 1

    def release(self, blocks: Iterable[int]) -> None:
        """Drop a reference; a block without one is free again."""
        for block in blocks:
            assert self._references[block] > 0, f"block {block} is free already"
            self._references[block] -= 1
            if self._references[block] == 0:
                self._free.append(block)
