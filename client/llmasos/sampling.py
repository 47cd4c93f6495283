"""What a caller may say about an answer: how tokens are chosen, when to stop, how soon."""

from __future__ import annotations

import math
import operator
from collections.abc import Sized
from dataclasses import dataclass, field, fields
from typing import Any

from llmasos.errors import InvalidRequestError

MAX_STOP_STRINGS = 256
MAX_STOP_CHARACTERS = 4096
MAX_STOP_TOKEN_IDS = 4096
MAX_STOP_BYTES = 4 * MAX_STOP_CHARACTERS
MAX_PRIORITY = 100
_INT32_MAX = 2**31 - 1
MAX_DEADLINE_MS = _INT32_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to choose the next token, when to stop and when to start. Temperature 0 is greedy.

    max_tokens: most tokens to generate, in [1, 2^31).
    min_tokens: end-of-sequence and stop token ids cannot be chosen before this many
        tokens, and stop strings are not looked for.
    temperature: logits are divided by it; 0 picks the most likely token.
    top_k: keep the k most likely tokens; 0 keeps all.
    top_p: keep the smallest set of most likely tokens whose probability reaches it,
        in (0, 1]; 1 keeps all (Holtzman et al., arXiv:1904.09751).
    min_p: drop tokens less likely than min_p times the most likely one, in [0, 1]
        (Nguyen et al., arXiv:2407.01082).
    seed: in [0, 2^64). A draw depends only on seed, output index and the logits;
        None draws a fresh seed.
    stop: strings that end the text; the text is cut before the first one found. One that is a
        special token stops at that token, which text does not show; one that holds such a
        token beside other text is refused.
    stop_token_ids: tokens that end the text, beside the model's own end tokens.
    ignore_eos: keep going past the model's own end tokens.
    priority: in [-100, 100]; of requests that wait, a higher one starts sooner, and when
        the KV cache is full a lower one gives way first.
    deadline_ms: milliseconds from its arrival in the engine, at least 1, after which a
        request that is not answered ends with a DeadlineExceededError; None is none.
    speculate: whether tokens may be guessed and verified, several in one step; None leaves
        it to the engine. It changes the speed, not how tokens are chosen.
    open_fields: names of the fields that the caller left to the model; its generation config
        may replace their values. `open_to_model` sets it.

    Raises InvalidRequestError, naming the field, its value and its limit.
    """

    max_tokens: int = 128
    min_tokens: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    priority: int = 0
    deadline_ms: int | None = None
    speculate: bool | None = None
    open_fields: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    @classmethod
    def open_to_model(cls, **given: Any) -> SamplingParams:
        """Params that leave every field that is not given to the model.

        The model's generation config (`llmasos.generation_config`) fills in what it recommends;
        other fields keep their defaults. Raises TypeError for a name that is no field.
        """
        return cls(**given, open_fields=SAMPLING_FIELDS - given.keys())

    def __post_init__(self) -> None:
        for name in ("max_tokens", "min_tokens", "top_k", "priority"):
            self._set(name, _integer(name, getattr(self, name)))
        for name in ("temperature", "top_p", "min_p"):
            self._set(name, _number(name, getattr(self, name)))
        if self.seed is not None:
            self._set("seed", _integer("seed", self.seed))
            _in_range("seed", self.seed, 0, 2**64 - 1)
        if self.deadline_ms is not None:
            self._set("deadline_ms", _integer("deadline_ms", self.deadline_ms))
            _in_range("deadline_ms", self.deadline_ms, 1, MAX_DEADLINE_MS)
        if self.speculate is not None:
            self._set("speculate", _truth("speculate", self.speculate))
        _in_range("priority", self.priority, -MAX_PRIORITY, MAX_PRIORITY)
        self._set("stop", _strings("stop", self.stop))
        _check_number_of_ids(self.stop_token_ids)
        ids = tuple(_integer("stop_token_ids", i) for i in _items("stop_token_ids", self))
        self._set("stop_token_ids", ids)
        _in_range("max_tokens", self.max_tokens, 1, _INT32_MAX)
        _in_range("min_tokens", self.min_tokens, 0, self.max_tokens)
        _in_range("temperature", self.temperature, 0.0, 1e6)
        _in_range("top_k", self.top_k, 0, _INT32_MAX)
        _in_range("top_p", self.top_p, 0.0, 1.0)
        if self.top_p == 0.0:
            raise InvalidRequestError("top_p must be above 0 and at most 1, got 0")
        _in_range("min_p", self.min_p, 0.0, 1.0)
        _check_stop(self.stop)
        for token_id in self.stop_token_ids:
            _in_range("stop_token_ids", token_id, 0, _INT32_MAX)

    def _set(self, name: str, value: object) -> None:
        """Keep a value in its plain type; numpy's numbers come in, and lists."""
        object.__setattr__(self, name, value)


SAMPLING_FIELDS = frozenset(f.name for f in fields(SamplingParams)) - {"open_fields"}
"""Names of the fields of SamplingParams that a caller may give."""


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


def _items(name: str, params: SamplingParams) -> tuple[Any, ...]:
    try:
        return tuple(getattr(params, name))
    except TypeError:
        shown = repr(getattr(params, name))
        raise InvalidRequestError(f"{name} must be a list of integers, got {shown}") from None


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


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not math.isfinite(value) or not low <= value <= high:
        raise InvalidRequestError(f"{name} must be between {low} and {high}, got {value}")


def _check_number_of_ids(ids: Any) -> None:
    if isinstance(ids, Sized) and len(ids) > MAX_STOP_TOKEN_IDS:
        raise InvalidRequestError(
            f"stop_token_ids holds {len(ids)} tokens, at most {MAX_STOP_TOKEN_IDS}"
        )


def _check_stop(stop: tuple[str, ...]) -> None:
    if len(stop) > MAX_STOP_STRINGS:
        raise InvalidRequestError(f"stop holds {len(stop)} strings, at most {MAX_STOP_STRINGS}")
    for text in stop:
        if not 1 <= len(text) <= MAX_STOP_CHARACTERS:
            raise InvalidRequestError(
                f"a stop string must have 1 to {MAX_STOP_CHARACTERS} characters, got {len(text)}"
            )
