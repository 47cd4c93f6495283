"""A budget for one rendering of a chat template."""

from __future__ import annotations

from typing import Any

from jinja2.exceptions import SecurityError

MAX_STEPS = 200_000
MAX_CHARACTERS = 256 << 20
_ELEMENT = 64


class Budget:
    """Steps and characters that one rendering may still use."""

    def __init__(self) -> None:
        self._steps = MAX_STEPS
        self._characters = MAX_CHARACTERS

    def take_step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise SecurityError(f"it took more than {MAX_STEPS} steps")

    def take_characters(self, count: int) -> None:
        self._characters -= count
        if self._characters < 0:
            raise SecurityError(f"it made more than {MAX_CHARACTERS} characters")


def size_of(value: Any) -> int:
    """A value's size in characters; each element of a list counts as several dozen."""
    if isinstance(value, str):
        return len(value)
    return _ELEMENT * len(value) if isinstance(value, list | tuple) else 0
