"""Finds the tokens that would repeat an n-gram of a sequence, for no_repeat_ngram_size.

As transformers' NoRepeatNGramLogitsProcessor, over prompt and output (Paulus et al.,
arXiv:1705.04304).
"""

from __future__ import annotations

from collections.abc import Sequence


class RepeatedNgrams:
    """Follows a list of token ids that grows at its end.

    token_ids: the sequence's own list. size: tokens of an n-gram.
    """

    def __init__(self, token_ids: Sequence[int], *, size: int) -> None:
        self._token_ids = token_ids
        self._size = size
        self._num_followed = 0
        self._next: dict[tuple[int, ...], list[int]] = {}  # first tokens -> those that came next

    def banned(self, drafts: tuple[int, ...] = ()) -> list[int]:
        """Tokens that would end an n-gram which the list, and the drafts behind it, have."""
        self._follow()
        num_first = self._size - 1
        beginning = max(0, len(self._token_ids) - num_first)
        tail = [*self._token_ids[beginning:], *drafts]
        if len(tail) < num_first:
            return []
        last = tuple(tail[len(tail) - num_first :])
        banned = list(self._next.get(last, ()))
        for end in range(num_first, len(tail)):
            if tuple(tail[end - num_first : end]) == last:
                banned.append(tail[end])
        return banned

    def _follow(self) -> None:
        num_first = self._size - 1
        for end in range(max(num_first, self._num_followed), len(self._token_ids)):
            first = tuple(self._token_ids[end - num_first : end])
            self._next.setdefault(first, []).append(self._token_ids[end])
        self._num_followed = len(self._token_ids)
