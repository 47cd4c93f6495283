"""Cuts a text into windows so that each of its tokens is predicted once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Tokens that the engine sees together.

    first_target: index in the window of the first token to predict; all after it are predicted too.
    begin: position of the window in the text.
    """

    token_ids: tuple[int, ...]
    first_target: int
    begin: int = 0

    def __post_init__(self) -> None:
        assert 0 < self.first_target < len(self.token_ids)

    @property
    def num_targets(self) -> int:
        return len(self.token_ids) - self.first_target


def make_windows(token_ids: Sequence[int], *, length: int, stride: int) -> list[Window]:
    """Returns windows of length tokens that begin stride tokens apart; the last may be shorter.

    A window predicts the tokens that the one before it did not. With a stride below the length
    every token but the first is predicted, with more context for a smaller stride; with a stride
    equal to the length the first token of each window has no context and is not predicted.
    length, stride: 2 <= length, 1 <= stride <= length.
    """
    assert length >= 2 and 1 <= stride <= length
    windows: list[Window] = []
    predicted = 0  # the tokens before this one
    for begin in range(0, len(token_ids), stride):
        end = min(begin + length, len(token_ids))
        first = max(begin + 1, predicted)
        if first < end:
            tokens = tuple(token_ids[begin:end])
            windows.append(Window(token_ids=tokens, first_target=first - begin, begin=begin))
        predicted = end
        if end == len(token_ids):
            break
    return windows
