"""Reads a GGUF file's metadata of one architecture, value by value."""

from __future__ import annotations

from reprlib import repr as short
from typing import Any

import numpy as np
from llmasos.errors import CheckpointError, UnsupportedArchitectureError

from llmasos_builder.checkpoint.gguf.file import GGUFFile

_MISSING = object()
_LARGEST = 1 << 28
# What loops and tables are made by; no model is near it.
_MOST = {
    "attention.head_count": 1 << 16,
    "attention.key_length": 1 << 16,
    "block_count": 1 << 10,
}


class Metadata:
    """The values of one architecture, with errors that name the file and the key.

    asked: every key that was read, whether the file has it or not.
    """

    def __init__(self, file: GGUFFile) -> None:
        self.file = file
        self.asked: set[str] = set()
        self.architecture = self._of("general.architecture", str, _MISSING)

    def integer(self, key: str, default: Any = _MISSING) -> Any:
        """Returns an integer; `key` comes without the architecture's prefix."""
        return self._of(f"{self.architecture}.{key}", int, default)

    def count(self, key: str, default: Any = _MISSING) -> Any:
        """Returns an integer of at least 1, with an upper bound."""
        value = self.integer(key, default)
        most = _MOST.get(key, _LARGEST)
        if value is not None and not 1 <= value <= most:
            raise CheckpointError(
                f"{self.file.path}: {self.architecture}.{key} must be at least 1 and at most "
                f"{most}, got {value}"
            )
        return value

    def number(self, key: str, default: Any = _MISSING) -> Any:
        """Returns a float32 as the shortest decimal that means it: 1e-05, not 9.99999974e-06."""
        value = self._of(f"{self.architecture}.{key}", float, default)
        return float(str(np.float32(value))) if isinstance(value, float) else value

    def flag(self, key: str, default: Any = _MISSING) -> Any:
        return self._of(f"{self.architecture}.{key}", bool, default)

    def integer_or_flags(self, key: str, default: int) -> int | list[bool]:
        """Returns one number, or a flag for each layer."""
        key = f"{self.architecture}.{key}"
        value = self.file.metadata.get(key)
        if isinstance(value, list) and all(item in (0, 1) for item in value):
            self.asked.add(key)
            return [bool(item) for item in value]
        number = int(self._of(key, int, default))
        if number < 0:
            raise CheckpointError(f"{self.file.path}: {key} must be at least 0, got {number}")
        return number

    def text(self, key: str, default: Any = _MISSING) -> Any:
        return self._of(f"{self.architecture}.{key}", str, default)

    def must_be(self, key: str, *allowed: Any) -> None:
        """Raises UnsupportedArchitectureError for another value; a missing key is accepted."""
        key = f"{self.architecture}.{key}"
        self.asked.add(key)
        value = self.file.metadata.get(key, allowed[0])
        if not is_one_of(value, allowed):
            raise UnsupportedArchitectureError(
                f"{self.file.path}: {key} is {short(value)}, only {short(allowed[0])} is supported"
            )

    def token_id(self, name: str) -> int | None:
        """Returns the id of bos, eos, eot, unknown or padding; None if the file has none."""
        value = self._of(f"tokenizer.ggml.{name}_token_id", int, None)
        return None if value is None else int(value)

    def _of(self, key: str, kind: type, default: Any) -> Any:
        self.asked.add(key)
        value = self.file.metadata.get(key, default)
        if value is _MISSING:
            raise CheckpointError(f"{self.file.path} has no {key}")
        if value is not default and (
            not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)
        ):
            raise CheckpointError(
                f"{self.file.path}: {key} must be {kind.__name__}, got {short(value)}"
            )
        return value


def is_one_of(value: Any, allowed: tuple[Any, ...]) -> bool:
    """Compares flags only with flags, although Python treats True as 1."""
    return any(
        isinstance(value, bool) == isinstance(other, bool) and value == other for other in allowed
    )
