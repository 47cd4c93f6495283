"""Drafts a sequence's next tokens from its own text (prompt lookup).

The text that followed the last tokens earlier is likely to follow again: in summaries, edits of
code, quotations and lists (Saxena, "Prompt Lookup Decoding", 2023). No draft model is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_LENGTHS = (3, 2)
"""Numbers of last tokens to look up, longest first. A single token is seldom a good match."""
_FIRST_CHANCES = (0.3, 0.5, 0.6, 0.8, 0.9)
"""Initial probabilities that a draft token is right, for the match lengths in `_LEVELS`."""
_LEVELS = (0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4)
_RATE = 0.1
"""Weight of the newest result in the running probability."""


class Price(NamedTuple):
    """The cost of draft tokens, in expected accepted tokens: of the first one, and of each."""

    first: float
    each: float

    def of(self, count: int) -> float:
        return self.first + count * self.each


class Drafter:
    """Follows one sequence and drafts its next tokens.

    It keeps the position in the text from which the next token is predicted. While predictions are
    right the position advances with the sequence; after a wrong one it is the latest position that
    followed the same last three tokens, or else two. Every token of the answer shows whether its
    prediction was right, even if no draft was computed, so the acceptance probabilities, one for
    each match length, are known at no cost. Each token takes constant time, however long the
    sequence is.

    token_ids: those of the sequence; the list is read as it grows.
    """

    def __init__(self, token_ids: Sequence[int]) -> None:
        self._token_ids = token_ids
        self._num_prompt_tokens = len(token_ids)
        self._num_read = 0
        self._places: dict[tuple[int, ...], int] = {}  # some tokens -> where they last led to
        self._place: int | None = None
        self._num_matching = 0
        self._chances = list(_FIRST_CHANCES)

    def propose(self, *, most: int, price: Price) -> tuple[int, ...]:
        """Returns at most `most` draft tokens, as many as are likely to be worth their price."""
        self._read()
        if self._place is None:
            return ()
        chance = self._chances[self._level]
        if chance <= price.each:
            return ()
        count = min(most, int(math.log(price.each) / math.log(chance)))
        if sum(chance**n for n in range(1, count + 1)) < price.of(count):
            return ()
        # Behind the sequence's end the guess goes on with the guess itself, in a circle.
        place, period = self._place, len(self._token_ids) - self._place
        return tuple(self._token_ids[place + index % period] for index in range(count))

    @property
    def _level(self) -> int:
        return _LEVELS[min(self._num_matching, len(_LEVELS) - 1)]

    def _read(self) -> None:
        """Reads the tokens that have come since; tokens of the prompt were not predicted."""
        for index in range(self._num_read, len(self._token_ids)):
            self._note(index)
            if index >= self._num_prompt_tokens - 1:
                self._follow(index)
        self._num_read = len(self._token_ids)

    def _note(self, index: int) -> None:
        """Records this index as the position after the tokens before it."""
        for length in _LENGTHS:
            if length <= index:
                self._places[tuple(self._token_ids[index - length : index])] = index

    def _follow(self, index: int) -> None:
        """Compares a token with its prediction and finds the position of the next one."""
        if self._place is not None:
            is_right = self._token_ids[self._place] == self._token_ids[index]
            level = self._level
            self._chances[level] += _RATE * (is_right - self._chances[level])
            if is_right:
                self._place += 1
                self._num_matching += 1
                return
        self._place = None
        for length in _LENGTHS:
            last = tuple(self._token_ids[max(0, index + 1 - length) : index + 1])
            if last in self._places:
                self._place, self._num_matching = self._places[last], length
                return
