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


def plain_json(value: object, name: str) -> Any:
    """A copy that holds nothing but dict, list, str, int, float, bool and None.

    name: of the field, for the errors. Raises InvalidRequestError: another type, a key that is
    no string, a number that JSON does not have, more than MAX_DEPTH levels or MAX_BYTES.
    """
    return _Copy(name).of(value, name, depth=0)


class _Copy:
    """One copy, and how many bytes it may still take."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bytes_left = MAX_BYTES

    def of(self, value: object, where: str, *, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise InvalidRequestError(f"{self._name} is nested deeper than {MAX_DEPTH} levels")
        self._take(_BYTES_OF_A_VALUE)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, where)
        if isinstance(value, int | float):
            return _number(value, where)
        if isinstance(value, Mapping):
            return {
                self._key(key, where): self.of(item, f"{where}.{key}", depth=depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
            return [self.of(v, f"{where}[{i}]", depth=depth + 1) for i, v in enumerate(value)]
        raise InvalidRequestError(f"{where} must be JSON data, got {type(value).__name__}")

    def _key(self, key: object, where: str) -> str:
        if not isinstance(key, str):
            raise InvalidRequestError(f"{where} has the key {key!r}, which is not a string")
        return self._text(key, where)

    def _text(self, text: str, where: str) -> str:
        try:
            self._take(len(text.encode()))
        except UnicodeEncodeError as error:
            raise InvalidRequestError(
                f"{where} is not valid Unicode: a lone surrogate at character {error.start}"
            ) from error
        return str(text)

    def _take(self, count: int) -> None:
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise InvalidRequestError(f"{self._name} takes more than {MAX_BYTES} bytes")


def _number(value: float, where: str) -> int | float:
    if isinstance(value, int):
        if abs(value) >= _MAX_INTEGER:
            raise InvalidRequestError(f"{where} is an integer of more than 64 bits")
        return int(value)
    if not math.isfinite(value):
        raise InvalidRequestError(f"{where} must be a number that JSON has, got {value}")
    return float(value)
