"""Reads a checkpoint's config.json field by field.

The reader names each field that changes the computation: it is used, or it must hold the one
value that is supported. Errors name the field and its value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from reprlib import repr as short
from typing import Any

from llmasos.errors import CheckpointError, UnsupportedArchitectureError

from llmasos_builder.graph import Activation

_LARGEST = 1 << 28  # of a size; no product of two overflows
MAX_LAYERS = 1024
MAX_HEADS = MAX_HEAD_SIZE = 1 << 16
# Hugging Face's names (transformers' ACT2FN).
ACTIVATIONS: Mapping[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}


class Config:
    """Fields of config.json, or of an object inside it, which `where` names.

    A field that is null counts as missing, as in Hugging Face's libraries. Each method raises
    CheckpointError if a field without a default is missing or has a wrong value.
    """

    def __init__(
        self,
        fields: Mapping[str, Any],
        *,
        where: str = "config.json",
        asked: set[str] | None = None,
    ) -> None:
        """asked: a set that collects the names of fields that are read."""
        self._fields = fields
        self._where = where
        self._asked = set[str]() if asked is None else asked

    def has(self, name: str) -> bool:
        return self._value(name) is not None

    def is_null(self, name: str) -> bool:
        """True if a field is null, for the few fields where that differs from a missing one."""
        return name in self._fields and self._value(name) is None

    def ignore(self, *names: str) -> None:
        """Marks fields that transformers knows and that change nothing here as read."""
        self._asked.update(names)

    def unread(self) -> frozenset[str]:
        """Fields that are not null and were not read."""
        return frozenset(n for n, value in self._fields.items() if value is not None) - self._asked

    def size(
        self,
        name: str,
        default: int | None = None,
        *,
        at_least: int = 1,
        at_most: int = _LARGEST,
    ) -> int:
        """Returns an integer within bounds."""
        value = self._get(name, default)
        if type(value) is not int or not at_least <= value <= at_most:
            raise self.wrong(name, f"must be an integer from {at_least} to {at_most}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Returns a finite number above 0."""
        value = self._get(name, default)
        if type(value) not in {int, float} or not 0 < value < math.inf:
            raise self.wrong(name, "must be a number above 0")
        return float(value)

    def numbers(self, name: str, count: int) -> list[float]:
        """Returns `count` finite numbers above 0."""
        values = self.items(name, [])
        sound = all(type(value) in {int, float} and 0 < value < math.inf for value in values)
        if len(values) != count or not sound:
            raise self.wrong(name, f"must be {count} numbers above 0")
        return [float(value) for value in values]

    def flag(self, name: str, default: bool) -> bool:
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "must be true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        value = self._get(name, default)
        if not isinstance(value, str):
            raise self.wrong(name, "must be a string")
        return value

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Returns a list of strings; None if it is missing."""
        value = self._value(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(name, "must be a list of strings")
        return tuple(value)

    def includes(self, name: str, text: str) -> bool:
        """Whether a list of strings has this one; a missing list has none."""
        return text in (self.texts(name) or ())

    def items(self, name: str, default: list[Any]) -> list[Any]:
        """Returns a list of any values."""
        value = self._get(name, default)
        if not isinstance(value, list):
            raise self.wrong(name, "must be a list")
        return value

    def activation(self, name: str, default: str) -> Activation:
        value = self.text(name, default)
        if value not in ACTIVATIONS:
            raise self.unsupported(name, f"{', '.join(sorted(ACTIVATIONS))} are supported")
        return ACTIVATIONS[value]

    def section(self, name: str) -> Config | None:
        """Returns an object inside this one; None if it is missing."""
        value = self._value(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(name, "must be an object")
        return Config(value, where=f"{self._where}: {name}")

    def only(self, **fields: str) -> Config:
        """Returns some fields alone under new names; each of `fields` maps a new name to the old
        one.
        """
        return self._with({new: self._value(old) for new, old in fields.items()})

    def renamed(self, **names: str) -> Config:
        """Returns all fields, some under new names; `names` maps old names to new ones.

        Raises UnsupportedArchitectureError if both names are present and differ.
        """
        found = {old: new for old, new in names.items() if self.has(old)}
        for old, new in found.items():
            self.must_agree(new, self, old)
        renamed = {new: self._fields[old] for old, new in found.items()}
        kept = {name: value for name, value in self._fields.items() if name not in found}
        return self._with({**kept, **renamed})

    def replaced(self, **fields: Any) -> Config:
        """Returns all fields, with these values replaced."""
        return self._with({**self._fields, **fields})

    def joined(self, other: Config) -> Config:
        """Returns the fields of both, which have none in common."""
        return self._with({**self._fields, **other._fields})

    def without(self, *names: str) -> Config:
        """Returns all fields but these."""
        kept = {name: value for name, value in self._fields.items() if name not in names}
        return self._with(kept)

    def names(self) -> frozenset[str]:
        """Names of the fields that are not null."""
        return frozenset(name for name, value in self._fields.items() if value is not None)

    def must_be(self, name: str, only: object) -> None:
        """Refuses any other value of a field; a missing or empty field counts as `only`."""
        value = self._value(name)
        if value not in (None, only, [], {}):
            raise self.unsupported(name, f"only {only!r} is supported")

    def must_agree(self, name: str, other: Config, other_name: str) -> None:
        """Refuses two fields for one fact that differ; raises UnsupportedArchitectureError."""
        if not self.has(name) or not other.has(other_name):
            return
        value, others = self._fields[name], other._fields[other_name]
        if value != others or isinstance(value, bool) != isinstance(others, bool):
            raise UnsupportedArchitectureError(
                f"{self._where}: {name} is {short(value)}, but {other_name} in {other._where} "
                f"is {short(others)}"
            )

    def must_be_in_both(self, name: str, other: Config) -> None:
        """Does what `must_agree` does, and also refuses a field that only one of the two has."""
        if self.has(name) != other.has(name):
            given, without = (self, other) if self.has(name) else (other, self)
            raise UnsupportedArchitectureError(
                f"{given._where}: {name} is {short(given._fields[name])}, and {without._where} "
                "has none"
            )
        self.must_agree(name, other, name)

    def wrong(self, name: str, expected: str) -> CheckpointError:
        return CheckpointError(f"{self._where}: {name} {expected}, got {self._shown(name)}")

    def unsupported(self, name: str, supported: str) -> UnsupportedArchitectureError:
        return UnsupportedArchitectureError(
            f"{self._where}: {name} is {self._shown(name)}, {supported}"
        )

    def _with(self, fields: Mapping[str, Any]) -> Config:
        return Config(fields, where=self._where, asked=self._asked)

    def _value(self, name: str) -> Any:
        self._asked.add(name)
        return self._fields.get(name)

    def _get(self, name: str, default: Any) -> Any:
        value = self._value(name)
        value = default if value is None else value
        if value is None:
            raise CheckpointError(f"{self._where} has no {name}")
        return value

    def _shown(self, name: str) -> str:
        return short(self._fields.get(name))
