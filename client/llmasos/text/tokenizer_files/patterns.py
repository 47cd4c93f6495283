"""Regular expressions over many characters and words that stay fast."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

_FEW = 4


def any_of(words: Iterable[str]) -> str:
    """Matches every way in which one of many words begins; it halves them by their first letter."""
    return _any_of(sorted({word for word in words if word}))


def _any_of(words: list[str]) -> str:
    if len(words) <= _FEW:
        return "|".join(map(re.escape, words))
    firsts = sorted({word[0] for word in words if word})
    rest = "|" if not words[0] else ""  # the empty word last, since others go on
    words = words[1:] if rest else words
    if len(firsts) == 1:
        tails = _any_of([word[1:] for word in words])
        return f"{re.escape(firsts[0])}(?:{tails}){rest}"
    middle = firsts[len(firsts) // 2]
    low, high = ([w for w in words if (w[0] < middle) is side] for side in (True, False))
    upto = f"\\x{{{ord(middle) - 1:x}}}"
    return f"(?=[\\x{{0}}-{upto}])(?:{_any_of(low)})|(?:{_any_of(high)}){rest}"


def other_than(characters: Collection[str]) -> str:
    """Returns the class of all other characters."""
    ranges: list[list[int]] = []
    for point in sorted(map(ord, characters)):
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return "[^" + "".join(f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in ranges) + "]"
