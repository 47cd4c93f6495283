"""Guesses at a sequence's next tokens, taken from its own text (prompt lookup).

What followed the last tokens when they stood before is likely to follow again: in summaries,
edits of code, quotations and lists (Saxena, "Prompt Lookup Decoding", 2023). No second model
is asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_LENGTHS = (3, 2)
"""How many last tokens are looked for, the longest first. One alone is seldom followed again."""
_FIRST_CHANCES = (0.3, 0.5, 0.6, 0.8, 0.9)
"""Of a guess after as many matching tokens as `_LEVELS` says, before any was seen."""
_LEVELS = (0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4)
_RATE = 0.1
"""How much the newest guess counts in the chance."""


class Price(NamedTuple):
    """What drafts cost, in tokens that they must be expected to bring: first, and each."""

    first: float
    each: float

    def of(self, count: int) -> float:
        return self.first + count * self.each


class Drafter:
    """Follows one sequence and says what may come next.

    It keeps a place in the text from which the next token is guessed. While the guesses are
    right the place moves on with the sequence; after a wrong one it is the latest place that
    the last three tokens, or else two, led to before. Every token of the answer says
    whether its guess was right, also when no draft was made of it: so the chances, one for
    each length of what matches, are known at no cost. Each token takes the same time, however
    long the sequence is.

    token_ids: of the sequence; it is read as it grows.
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
        """The next tokens, at most so many, if they are likely to be worth their price."""
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
        """Take in the tokens that have come since; of the prompt nothing was guessed."""
        for index in range(self._num_read, len(self._token_ids)):
            self._note(index)
            if index >= self._num_prompt_tokens - 1:
                self._follow(index)
        self._num_read = len(self._token_ids)

    def _note(self, index: int) -> None:
        """Remember that the tokens before this one led to it."""
        for length in _LENGTHS:
            if length <= index:
                self._places[tuple(self._token_ids[index - length : index])] = index

    def _follow(self, index: int) -> None:
        """Compare a token with its guess, and find the place of the next one's."""
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
