"""Finds stop strings in text that comes in pieces.

An Aho-Corasick automaton ("Efficient string matching", CACM 1975) reads each character once,
however many strings there are. Its state is the longest end of the text that begins a stop
string: exactly what must be held back. States are made when the text first reaches them, so a
million characters of stop strings cost only their sorting.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False, kw_only=True)
class State:
    """The end of the text that begins a stop string: the first `length` characters of `row`.

    found: the longest stop string that the text ends with.
    shorter: the state of the next shorter end that begins one.
    """

    row: int = 0
    length: int = 0
    found: str | None = None
    shorter: State | None = None
    longer: dict[str, State] = field(default_factory=dict[str, "State"])


class StopStrings:
    """Reads the text of one sequence. stop: one string or more, none of them empty."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._rows = sorted(set(stop))
        self._beginnings = re.compile(
            "|".join(re.escape(c) for c in {row[0] for row in self._rows})
        )
        self.start = State()

    def read(self, state: State, text: str) -> tuple[State, list[tuple[int, str]]]:
        """Returns the state after more text, and the stop strings in it with the position of their
        end.

        Of several that end at one position it is the longest, which begins first.
        """
        found: list[tuple[int, str]] = []
        place = 0
        while place < len(text):
            if state is self.start:
                beginning = self._beginnings.search(text, place)
                if beginning is None:
                    break
                place = beginning.start()
            state = self._next(state, text[place])
            place += 1
            if state.found is not None:
                found.append((place, state.found))
        return state, found

    def _next(self, state: State, character: str) -> State:
        """Returns the state after one more character; makes it and the shorter ones that it
        needs.
        """
        made: list[State] = []
        target = self.start
        for end in _ends(state):
            if character in end.longer:
                target = end.longer[character]
                break
            longer = self._longer(end, character)
            if longer is not None:
                end.longer[character] = longer
                made.append(longer)
        for longer in reversed(made):
            longer.shorter = target
            longer.found = longer.found or target.found
            target = longer
        return target

    def _longer(self, state: State, character: str) -> State | None:
        beginning = self._rows[state.row][: state.length] + character
        row = bisect_left(self._rows, beginning, lo=state.row)
        if row == len(self._rows) or not self._rows[row].startswith(beginning):
            return None
        is_whole = len(self._rows[row]) == len(beginning)
        return State(row=row, length=len(beginning), found=beginning if is_whole else None)


def _ends(state: State) -> Iterator[State]:
    end: State | None = state
    while end is not None:
        yield end
        end = end.shorter
