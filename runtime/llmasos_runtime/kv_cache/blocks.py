"""A pool of equal KV blocks with reference counts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from heapq import heappop, heappush


def blocks_for(num_tokens: int, block_size: int) -> int:
    """The number of blocks that hold this many tokens."""
    return -(-num_tokens // block_size)


class BlockPool:
    """Allocates block ids in [0, num_blocks).

    A block has one reference for each table that it is in, and is free when it has none: num_free
    is the number of blocks without a reference. A free block that was kept still holds its keys and
    values and can be shared again. Blocks without content are allocated first, the lowest id first,
    so that blocks in use lie together and a quiet engine touches little memory; then kept blocks,
    the least recently used first.

    forget: is called with each kept block whose content is lost.
    """

    def __init__(self, num_blocks: int, *, forget: Callable[[int], None] | None = None) -> None:
        if num_blocks < 1:
            raise ValueError(f"num_blocks must be at least 1, got {num_blocks}")
        self._forget = forget
        self._references = [0] * num_blocks
        self._empty = list(range(num_blocks))  # a heap
        self._kept: OrderedDict[int, None] = OrderedDict()

    @property
    def num_blocks(self) -> int:
        return len(self._references)

    @property
    def num_free(self) -> int:
        return len(self._empty) + len(self._kept)

    def is_free(self, block: int) -> bool:
        return self._references[block] == 0

    def allocate(self, count: int) -> list[int]:
        """Takes free blocks, each with one reference; the caller checks `num_free` before."""
        assert 0 <= count <= self.num_free, f"{count} blocks asked for, {self.num_free} are free"
        taken = [self._take() for _ in range(count)]
        for block in taken:
            self._references[block] = 1
        return taken

    def share(self, blocks: Iterable[int]) -> None:
        """Adds a reference to blocks that are in use or kept, for another table."""
        for block in blocks:
            if self.is_free(block):
                assert block in self._kept, f"block {block} is free and holds nothing"
                del self._kept[block]
            self._references[block] += 1

    def release(self, blocks: Iterable[int], *, keep: Callable[[int], bool] | None = None) -> None:
        """Drops a reference; a block without one is free, and keeps its content if keep says so."""
        for block in blocks:
            assert self._references[block] > 0, f"block {block} is free already"
            self._references[block] -= 1
            if self._references[block] == 0:
                if keep is not None and keep(block):
                    self._kept[block] = None
                else:
                    heappush(self._empty, block)

    def _take(self) -> int:
        if self._empty:
            return heappop(self._empty)
        block, _ = self._kept.popitem(last=False)
        if self._forget is not None:
            self._forget(block)
        return block
