"""The distinct tokens of a sequence, counted as it grows, for what depends on tokens before."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Seen(NamedTuple):
    """The distinct tokens before a position, and how often each is in the output.

    num_outputs: 0 for a token of the prompt alone.
    """

    ids: NDArray[np.intp]
    num_outputs: NDArray[np.int32]


class TokenCounts:
    """Follows a list of token ids that grows at its end, and counts each token once.

    token_ids: the prompt and the output so far, the sequence's own list. Nothing is counted
    before `seen` is called, and then what has come since the last call.
    """

    def __init__(self, token_ids: list[int], *, num_prompt_tokens: int) -> None:
        self._token_ids = token_ids
        self._num_prompt_tokens = num_prompt_tokens
        self._num_followed = 0
        self._places: dict[int, int] = {}
        self._ids = np.zeros(0, np.intp)
        self._num_outputs = np.zeros(0, np.int32)

    def seen(self, drafts: tuple[int, ...] = ()) -> Seen:
        """The tokens of the list, and behind them the drafts as if they were output.

        The arrays are valid until the next call, and are not to be changed.
        """
        self._follow()
        size = len(self._places)
        known = Seen(self._ids[:size], self._num_outputs[:size])
        return self._with_drafts(known, drafts) if drafts else known

    def _follow(self) -> None:
        if self._num_followed < self._num_prompt_tokens:
            self._places = {token: i for i, token in enumerate(dict.fromkeys(self._prompt()))}
            self._ids = np.array([*self._places], np.intp)
            self._num_outputs = np.zeros(self._ids.size, np.int32)
            self._num_followed = self._num_prompt_tokens
        for token in self._token_ids[self._num_followed :]:
            place = self._place(token)
            self._num_outputs[place] += 1
        self._num_followed = len(self._token_ids)

    def _prompt(self) -> list[int]:
        return self._token_ids[: self._num_prompt_tokens]

    def _place(self, token: int) -> int:
        """Where the token is counted, which may be a new place."""
        place = self._places.setdefault(token, len(self._places))
        if place == self._ids.size:  # room for as many again, so that growing stays cheap
            self._ids = np.concatenate([self._ids, np.zeros(place + 1, np.intp)])
            self._num_outputs = np.concatenate([self._num_outputs, np.zeros(place + 1, np.int32)])
        self._ids[place] = token
        return place

    def _with_drafts(self, known: Seen, drafts: tuple[int, ...]) -> Seen:
        new = [token for token in dict.fromkeys(drafts) if token not in self._places]
        places = {token: known.ids.size + i for i, token in enumerate(new)}
        num_outputs = np.concatenate([known.num_outputs, np.zeros(len(new), np.int32)])
        for token in drafts:
            num_outputs[places[token] if token in places else self._places[token]] += 1
        return Seen(np.concatenate([known.ids, np.array(new, np.intp)]), num_outputs)
