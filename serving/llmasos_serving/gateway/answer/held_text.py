"""Finds a marker in text that comes in pieces."""

from __future__ import annotations


def split_at(text: str, marker: str) -> tuple[str, str, bool]:
    """Returns the text that is surely before the marker, the rest, and whether the marker is there.

    Without the marker the rest is the longest end of the text that could begin it; with it, the
    rest is what follows it.
    """
    before, found, after = text.partition(marker)
    if found:
        return before, after, True
    for size in range(min(len(marker) - 1, len(text)), 0, -1):
        if marker.startswith(text[-size:]):
            return text[:-size], text[-size:], False
    return text, "", False
