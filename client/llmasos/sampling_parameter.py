"""One row of the table of sampling parameters, and the checks that its values have to pass."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from llmasos.errors import InvalidRequestError

TensorType = Literal["INT32", "UINT64", "FP32", "BOOL", "STRING"]
"""A data type of Triton, by the name that its protocol gives it (strings are BYTES there)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CliOption:
    """The command-line option of a parameter.

    help: one sentence. name: the flag; empty for that of the parameter. is_in_chat: `llmasos
    chat` has it too, and not `llmasos generate` alone.
    """

    help: str
    name: str = ""
    is_in_chat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParameter:
    """A sampling parameter: what SamplingParams, the tensors, the clients and the CLI say of it.

    name: the field of SamplingParams. type: of its tensor, and of its elements if it is a list.
    default: the value that asks for nothing; None where leaving it out is one.
    least, most: its limits, or those of the characters of each string. excludes_least: it must
        be above `least`. max_items: the most elements of a list; `items` names them in errors.
    tensor: the input of the ensemble; empty for `name`, None if the parameter has no tensor of
        its own. engine_tensor: the input of the engine; empty for that of the ensemble.
    is_classic: the classic contract has the tensors. older_names: what its earlier releases called
        them; the tensors of these names say the same.
    is_always_sent: clients send it even with its default, since a server that is not told
        chooses by other tensors.
    is_recommended: generation_config.json may fill it in where a caller leaves it open.
    changes_logits: it changes logits before a token is drawn, which takes the logits of all tokens;
        an engine that does not sample from them refuses any value but the default.
    option: its command-line option, if it has one.
    """

    name: str
    type: TensorType
    default: Any
    least: float = -math.inf
    most: float = math.inf
    excludes_least: bool = False
    max_items: int | None = None
    items: str = ""
    is_mapping: bool = False
    tensor: str | None = ""
    engine_tensor: str = ""
    is_classic: bool = False
    older_names: tuple[str, ...] = ()
    is_always_sent: bool = False
    is_recommended: bool = False
    changes_logits: bool = False
    option: CliOption | None = None

    @property
    def is_list(self) -> bool:
        """It holds any number of values; it is asked for nothing when empty."""
        return self.max_items is not None and not self.is_mapping

    @property
    def ensemble_name(self) -> str | None:
        """The input of the model `ensemble`."""
        return self.name if self.tensor == "" else self.tensor

    @property
    def engine_name(self) -> str | None:
        """The input of the model `engine`."""
        return self.engine_tensor or self.ensemble_name

    def checked(self, value: Any) -> Any:
        """The value in its plain Python type: numpy's numbers come in, and lists.

        Raises InvalidRequestError naming the parameter, the value and the limit.
        """
        if value is None and self.default is None:
            return None
        if self.is_mapping:
            return self._checked_mapping(value)
        if self.is_list:
            return self._checked_list(value)
        plain = _PLAIN[self.type](self.name, value)
        if not isinstance(plain, bool):
            self._check_range(plain)
        return plain

    @property
    def tensor_type(self) -> TensorType:
        """The data type of its tensors."""
        return "STRING" if self.is_mapping else self.type

    def _checked_mapping(self, value: Any) -> tuple[tuple[int, Any], ...]:
        pairs = _pairs(self.name, value)
        self._check_size(pairs)
        checked: dict[int, Any] = {}
        for token, number in pairs:
            token_id = _integer(f"a token of {self.name}", token)
            if not 0 <= token_id < 1 << 31:
                raise InvalidRequestError(
                    f"{self.name} holds token {token_id}, token ids are at least 0"
                )
            checked[token_id] = _PLAIN[self.type](f"{self.name} of token {token_id}", number)
            self._check_range(checked[token_id])
        return tuple(sorted(checked.items()))

    def _checked_list(self, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, str):
            self._check_size(value)
        values = (_strings if self.type == "STRING" else _integers)(self.name, value)
        self._check_size(values)
        for item in values:
            if isinstance(item, str):
                self._check_length(item)
            else:
                self._check_range(item)
        return values

    def _check_range(self, value: float) -> None:
        least, most = self.least, self.most
        if not math.isfinite(value) or not least <= value <= most:
            raise InvalidRequestError(
                f"{self.name} must be between {least} and {most}, got {value}"
            )
        if self.excludes_least and value == least:
            raise InvalidRequestError(
                f"{self.name} must be above {least:g} and at most {most:g}, got {value:g}"
            )

    def _check_size(self, values: Any) -> None:
        if isinstance(values, Sized) and len(values) > (self.max_items or 0):
            raise InvalidRequestError(
                f"{self.name} holds {len(values)} {self.items}, at most {self.max_items}"
            )

    def _check_length(self, text: str) -> None:
        if not self.least <= len(text) <= self.most:
            raise InvalidRequestError(
                f"a {self.name} string must have {self.least} to {self.most} characters, got "
                f"{len(text)}"
            )


def _integer(name: str, value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise InvalidRequestError(f"{name} must be an integer, got {value!r}") from None


def _truth(name: str, value: Any) -> bool:
    """numpy's truth is one too; it has no dimension."""
    is_truth = isinstance(value, bool) or str(getattr(value, "dtype", "")) == "bool"
    if not is_truth or getattr(value, "shape", ()) != ():
        raise InvalidRequestError(f"{name} must be true or false, got {value!r}")
    return bool(value)


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, bool | str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidRequestError(f"{name} must be a number, got {value!r}") from None


def _integers(name: str, value: Any) -> tuple[int, ...]:
    try:
        values = tuple(value)
    except TypeError:
        raise InvalidRequestError(f"{name} must be a list of integers, got {value!r}") from None
    return tuple(_integer(name, item) for item in values)


def _pairs(name: str, value: Any) -> tuple[tuple[Any, Any], ...]:
    try:
        pairs = value.items() if isinstance(value, Mapping) else value
        return tuple((token, number) for token, number in pairs)
    except (TypeError, ValueError):
        raise InvalidRequestError(
            f"{name} must be a mapping from token ids to numbers, got {value!r:.60}"
        ) from None


def _strings(name: str, value: Any) -> tuple[str, ...]:
    """One string stands for itself."""
    if isinstance(value, str):
        return (value,)
    try:
        strings = tuple(value)
    except TypeError:
        strings = (value,)
    for text in strings:
        if not isinstance(text, str):
            raise InvalidRequestError(f"{name} must be strings, got {text!r}")
    return strings


_PLAIN: Mapping[TensorType, Callable[[str, Any], Any]] = MappingProxyType(
    {"INT32": _integer, "UINT64": _integer, "FP32": _number, "BOOL": _truth}
)
