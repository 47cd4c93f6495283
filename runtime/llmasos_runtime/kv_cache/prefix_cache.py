"""Prefix caching: finds blocks of the KV cache by the tokens that lead to them.

Keys and values of a token depend on it and on all tokens before it. So a full block can serve
every sequence that begins with the same tokens up to its end: two sequences share a chain of
blocks as far as they are equal (as in vLLM's automatic prefix caching; Kwon et al.,
arXiv:2309.06180). A block is identified by the block before it and by its own tokens, which are
compared themselves and not only by a hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmasos_runtime.sequences.sequence import ROOT


class Prefix(NamedTuple):
    """A cached prefix: its blocks in order, and the number of the last one."""

    blocks: list[int]
    number: int


class PrefixCache:
    """Maps prefixes to blocks. It neither owns nor counts blocks.

    Each cached block has a number that is never reused, so that successors of a forgotten block are
    never found again.
    """

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._numbers: dict[tuple[int, tuple[int, ...]], int] = {}
        self._blocks: dict[int, int] = {}
        self._keys: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._last_number = ROOT

    def __contains__(self, block: int) -> bool:
        return block in self._keys

    def new_root(self) -> int:
        """Returns a number that no prefix follows yet."""
        self._last_number += 1
        return self._last_number

    def find(self, token_ids: Sequence[int], *, after: int = ROOT) -> Prefix:
        """Finds the longest cached prefix, behind `after`, that leaves at least one token to
        compute.
        """
        size = self._block_size
        blocks: list[int] = []
        number = after
        for begin in range(0, len(token_ids) - size, size):
            found = self._numbers.get((number, tuple(token_ids[begin : begin + size])))
            if found is None:
                break
            blocks.append(self._blocks[found])
            number = found
        return Prefix(blocks, number)

    def add(self, after: int, token_ids: Sequence[int], block: int) -> int:
        """Caches a full block that follows the block numbered `after`; returns its number.

        If another block with the same content is cached, that one stays, and its number is
        returned.
        """
        key = (after, tuple(token_ids))
        assert len(key[1]) == self._block_size
        number = self._numbers.get(key)
        if number is None:
            self._last_number += 1
            number = self._numbers[key] = self._last_number
            self._blocks[number] = block
            self._keys[block] = key
        return number

    def forget(self, block: int) -> None:
        """Forgets a block that will hold something else."""
        del self._blocks[self._numbers.pop(self._keys.pop(block))]
