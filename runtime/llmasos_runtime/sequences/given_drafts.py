"""Draft tokens that the caller gives: what another model thinks that the output will be."""

from __future__ import annotations

from collections.abc import Sequence

from llmasos_runtime.sequences.drafter import Drafter, Price


class GivenDrafts:
    """Proposes the rest of a given output while the output is that; then asks another drafter.

    token_ids: the sequence's own list, which holds the prompt now and grows at its end.
    drafts: the expected output. after: drafts what follows it, if anything does.
    """

    def __init__(
        self, token_ids: Sequence[int], drafts: Sequence[int], *, after: Drafter | None = None
    ) -> None:
        self._token_ids = token_ids
        self._drafts = tuple(drafts)
        self._after = after
        self._num_prompt_tokens = len(token_ids)
        self._num_right = 0

    def propose(self, *, most: int, price: Price) -> tuple[int, ...]:
        """Returns at most `most` draft tokens. Given ones are computed whatever their price is."""
        if self._holds():
            return self._drafts[self._num_right : self._num_right + most]
        return () if self._after is None else self._after.propose(most=most, price=price)

    def _holds(self) -> bool:
        """Whether the output is the beginning of the drafts, and not yet all of them."""
        begin = self._num_prompt_tokens + self._num_right
        new = tuple(self._token_ids[begin:])
        end = self._num_right + len(new)
        if new != self._drafts[self._num_right : end]:
            self._drafts = ()
        self._num_right = end
        return end < len(self._drafts)
