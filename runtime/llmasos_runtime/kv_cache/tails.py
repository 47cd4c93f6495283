"""Blocks that an ended sequence has filled in part, from which another may go on.

A sequence that begins with the tokens of one that has ended copies the keys and values of the part
and computes the rest: a step of a search of beams computes one token of each beam.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Tail(NamedTuple):
    """Tokens in a block behind the prefix with this number."""

    number: int
    token_ids: tuple[int, ...]
    block: int


class Tails:
    """Finds such blocks. It neither owns nor counts them."""

    def __init__(self) -> None:
        self._by_number: dict[int, dict[tuple[int, ...], Tail]] = {}
        self._by_block: dict[int, Tail] = {}

    def __contains__(self, block: int) -> bool:
        return block in self._by_block

    def find(self, number: int, token_ids: Sequence[int]) -> Tail | None:
        """The longest tail behind a prefix that token_ids begin with and go beyond."""
        known = self._by_number.get(number)
        if known is None:
            return None
        longest = max(map(len, known))
        for length in range(min(longest, len(token_ids) - 1), 0, -1):
            tail = known.get(tuple(token_ids[:length]))
            if tail is not None:
                return tail
        return None

    def add(self, tail: Tail) -> None:
        """Remembers a tail, unless one with its tokens is known already."""
        known = self._by_number.setdefault(tail.number, {})
        if tail.token_ids not in known:
            known[tail.token_ids] = self._by_block[tail.block] = tail

    def forget(self, block: int) -> bool:
        """Forgets a block that will hold something else; False if it was no tail."""
        tail = self._by_block.pop(block, None)
        if tail is None:
            return False
        known = self._by_number[tail.number]
        del known[tail.token_ids]
        if not known:
            del self._by_number[tail.number]
        return True
