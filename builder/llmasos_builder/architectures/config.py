"""A checkpoint's config.json, read field by field.

Whoever reads it names each field that changes the computation: it is used, or it must hold
the one value that is supported. Errors name the field and what it holds.
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

    A field that is null counts as missing, as it does for Hugging Face. Each method raises
    CheckpointError if a field without a default is missing, or holds something else.
    """

    def __init__(
        self,
        fields: Mapping[str, Any],
        *,
        where: str = "config.json",
        asked: set[str] | None = None,
    ) -> None:
        """asked: where to note the names that somebody reads."""
        self._fields = fields
        self._where = where
        self._asked = set[str]() if asked is None else asked

    def has(self, name: str) -> bool:
        return self._value(name) is not None

    def is_null(self, name: str) -> bool:
        """For the few fields of which null means something else than a missing one."""
        return name in self._fields and self._value(name) is None

    def ignore(self, *names: str) -> None:
        """Fields that transformers knows, and that change nothing here."""
        self._asked.update(names)

    def unread(self) -> frozenset[str]:
        """Fields that are not null, and that nobody has read."""
        return frozenset(n for n, value in self._fields.items() if value is not None) - self._asked

    def size(
        self,
        name: str,
        default: int | None = None,
        *,
        at_least: int = 1,
        at_most: int = _LARGEST,
    ) -> int:
        """A whole number."""
        value = self._get(name, default)
        if type(value) is not int or not at_least <= value <= at_most:
            raise self.wrong(name, f"must be a whole number from {at_least} to {at_most}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number above 0."""
        value = self._get(name, default)
        if type(value) not in {int, float} or not 0 < value < math.inf:
            raise self.wrong(name, "must be a number above 0")
        return float(value)

    def numbers(self, name: str, count: int) -> list[float]:
        """So many finite numbers above 0."""
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
        """Several strings; None where there are none."""
        value = self._value(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(name, "must be a list of strings")
        return tuple(value)

    def items(self, name: str, default: list[Any]) -> list[Any]:
        """A list of anything."""
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
        """An object inside this one; None where there is none."""
        value = self._value(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(name, "must be an object")
        return Config(value, where=f"{self._where}: {name}")

    def only(self, **fields: str) -> Config:
        """Some fields alone, by new names: each of `fields` is the name that it has here."""
        return self._with({new: self._value(old) for new, old in fields.items()})

    def renamed(self, **names: str) -> Config:
        """All fields, some by new names: of each old name its new one.

        Raises UnsupportedArchitectureError where both are there and differ.
        """
        found = {old: new for old, new in names.items() if self.has(old)}
        for old, new in found.items():
            self.must_agree(new, self, old)
        renamed = {new: self._fields[old] for old, new in found.items()}
        kept = {name: value for name, value in self._fields.items() if name not in found}
        return self._with({**kept, **renamed})

    def replaced(self, **fields: Any) -> Config:
        """All fields, of which these have other values."""
        return self._with({**self._fields, **fields})

    def joined(self, other: Config) -> Config:
        """The fields of both, which have none in common."""
        return self._with({**self._fields, **other._fields})

    def without(self, *names: str) -> Config:
        """All fields but these."""
        kept = {name: value for name, value in self._fields.items() if name not in names}
        return self._with(kept)

    def names(self) -> frozenset[str]:
        """Fields that are not null."""
        return frozenset(name for name, value in self._fields.items() if value is not None)

    def must_be(self, name: str, only: object) -> None:
        """A field that would change the computation; missing or empty is what `only` means."""
        value = self._value(name)
        if value not in (None, only, [], {}):
            raise self.unsupported(name, f"only {only!r} is supported")

    def must_agree(self, name: str, other: Config, other_name: str) -> None:
        """One fact in two places; raises UnsupportedArchitectureError where they differ."""
        if not self.has(name) or not other.has(other_name):
            return
        value, others = self._fields[name], other._fields[other_name]
        if value != others or isinstance(value, bool) != isinstance(others, bool):
            raise UnsupportedArchitectureError(
                f"{self._where}: {name} is {short(value)}, but {other_name} in {other._where} "
                f"is {short(others)}"
            )

    def must_be_in_both(self, name: str, other: Config) -> None:
        """As `must_agree`, where a field that one of the two leaves out differs too."""
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
