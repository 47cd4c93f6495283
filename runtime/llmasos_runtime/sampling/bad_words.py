"""Finds the tokens that would complete a bad word, given the tokens before.

As transformers' NoBadWordsLogitsProcessor: the last token of a word is banned where the tokens
before are the word's others, in the prompt or the output.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class BadWords:
    """words: the token ids of each, at least one."""

    def __init__(self, words: Iterable[tuple[int, ...]]) -> None:
        self._alone: list[int] = []
        self._longest = 0
        self._after: dict[int, list[tuple[int, ...]]] = {}  # last token but one -> words
        for word in dict.fromkeys(words):
            if len(word) == 1:
                self._alone.append(word[0])
            else:
                self._after.setdefault(word[-2], []).append(word)
                self._longest = max(self._longest, len(word) - 1)

    def banned(self, token_ids: Sequence[int], drafts: tuple[int, ...] = ()) -> list[int]:
        """Tokens that must not follow these tokens and the drafts behind them."""
        if not self._longest:
            return self._alone
        tail = (*token_ids[-self._longest :], *drafts)
        found = self._after.get(tail[-1], ())
        return [*self._alone, *(w[-1] for w in found if tail[-len(w) + 1 :] == w[:-1])]
