"""A caller's values as plain JSON data of bounded size, for a chat template to read.

A template's sandbox is safe with plain data alone: any other object has methods of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from llmasos.errors import InvalidRequestError

MAX_DEPTH = 64
MAX_BYTES = 64 << 20
_MAX_INTEGER = 1 << 64
_BYTES_OF_A_VALUE = 8
_SHOWN = 60
# The way to a value: to what holds it, and its key or index there.
_Path = tuple[Any, str | int]


def plain_json(value: object, name: str) -> Any:
    """Returns a copy that holds only dict, list, str, int, float, bool and None.

    name: the field's name in errors. Raises InvalidRequestError for another type, a key that is not
    a string, NaN or infinity, more than MAX_DEPTH levels, or more than MAX_BYTES.
    """
    return _Copy(name).of(value, None)


class _Copy:
    """One copy in progress and the bytes that it may still take."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bytes_left = MAX_BYTES

    def of(self, value: object, path: _Path | None, *, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise InvalidRequestError(f"{self._name} is nested deeper than {MAX_DEPTH} levels")
        self._take(_BYTES_OF_A_VALUE)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, int | float):
            return self._number(value, path)
        if isinstance(value, Mapping):
            return {
                self._key(key, path): self.of(item, (path, key), depth=depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
            return [self.of(item, (path, i), depth=depth + 1) for i, item in enumerate(value)]
        raise self._refusal(path, f"must be JSON data, got {type(value).__name__}")

    def _key(self, key: object, path: _Path | None) -> str:
        if not isinstance(key, str):
            raise self._refusal(path, f"has the key {key!r:.{_SHOWN}}, which is not a string")
        return self._text(key, path)

    def _text(self, text: str, path: _Path | None) -> str:
        try:
            self._take(len(text.encode()))
        except UnicodeEncodeError as error:
            raise self._refusal(
                path, f"is not valid Unicode: a lone surrogate at character {error.start}"
            ) from error
        return str(text)

    def _number(self, value: float, path: _Path | None) -> int | float:
        if isinstance(value, int):
            if abs(value) >= _MAX_INTEGER:
                raise self._refusal(path, "is an integer of more than 64 bits")
            return int(value)
        if not math.isfinite(value):
            raise self._refusal(path, f"must be a finite number, got {value}")
        return float(value)

    def _take(self, count: int) -> None:
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise InvalidRequestError(f"{self._name} takes more than {MAX_BYTES} bytes")

    def _refusal(self, path: _Path | None, what: str) -> InvalidRequestError:
        steps: list[str] = []
        while path is not None:
            path, step = path
            steps.append(f"[{step}]" if isinstance(step, int) else f".{step:.{_SHOWN}}")
        return InvalidRequestError(f"{self._name}{''.join(reversed(steps))} {what}")
