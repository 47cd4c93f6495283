"""What a request to a classic-named model asks of `engine`, in the words of `engine`.

Where a request says nothing the classic engine had other defaults than ours: it was greedy until
`top_k` or `top_p` asked for a choice, whatever the temperature, its seed was 0, and it answered
with all beams, whose length had no penalty, as soon as all had ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from llmasos.contract.engine import ENGINE_INPUTS
from llmasos.contract.tensor import Support, Tensor
from llmasos.errors import InvalidRequestError
from numpy.typing import NDArray

from llmasos_runtime.triton.backend import BackendRequest
from llmasos_runtime.triton.fields import Fields

Inputs = dict[str, NDArray[Any]]
"""Arrays by name; the first dimension is rows."""
_NOT_DECOUPLED = "Streaming is only supported if model is deployed using decoupled mode."
_OF_ENGINE = frozenset(tensor.name for tensor in ENGINE_INPUTS)
_STREAMING = "streaming"
_NO = np.array([[False]])
_SEEDS = ("seed", "random_seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicDefaults:
    """What a model takes where a request does not say.

    is_decoupled: it may stream. excludes_input: a single answer leaves the prompt out.
    includes_stop: the text ends with its stop word, and not before it.
    """

    is_decoupled: bool
    excludes_input: bool
    includes_stop: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicRequest:
    """rows: the inputs of `engine` for each row. streams: several responses for each."""

    rows: tuple[Inputs, ...]
    streams: bool = False

    @property
    def has_one_answer(self) -> bool:
        """False if a row has several answers, each with responses of its own; beams have not."""
        counts = (_number(row, "num_return_sequences") for row in self.rows if not has_beams(row))
        return all(count <= 1 for count in counts)

    @classmethod
    def of(
        cls, request: BackendRequest, table: Mapping[str, Tensor], defaults: ClassicDefaults
    ) -> ClassicRequest:
        """table: the inputs of the model, whose targets are those of `engine`.

        Raises InvalidRequestError for what the model refuses by itself.
        """
        arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        rows = tuple(_rows(arrays))
        if rows and Fields(rows[0], table).boolean("stop"):
            return cls(rows=({"stop": np.array([[True]])},))
        asked = tuple(_for_engine(row, table, defaults) for row in rows)
        return cls(rows=asked, streams=any(row.get(_STREAMING, _NO).any() for row in asked))


def has_beams(inputs: Inputs) -> bool:
    """Whether inputs of `engine` ask for beams, of which all that are wanted make one answer."""
    return _number(inputs, "beam_width") > 1


def _number(inputs: Inputs, name: str) -> int:
    return int(inputs[name].item()) if name in inputs else 0


def _rows(arrays: Inputs) -> Iterator[Inputs]:
    for row in range(max((array.shape[0] for array in arrays.values()), default=0)):
        yield {name: array[row : row + 1] for name, array in arrays.items()}


def _for_engine(row: Inputs, table: Mapping[str, Tensor], defaults: ClassicDefaults) -> Inputs:
    _refuse_what_engine_lacks(row, table)
    given = {
        table[name].target: array
        for name, array in row.items()
        if array.size and not _is_of_this_model_alone(table[name])
    }
    fields = Fields(given, {tensor.target: tensor for tensor in table.values()})
    streams = bool(fields.boolean(_STREAMING))
    if streams and not defaults.is_decoupled:
        raise InvalidRequestError(_NOT_DECOUPLED)
    given |= _of_beams(fields)
    if not _asks_for_choice(fields):
        given["runtime_top_k"] = np.array([[1]], np.int32)
    if not any(map(fields.has, _SEEDS)):
        given["seed"] = np.array([[0]], np.uint64)
    if not streams and not fields.has("exclude_input_in_output"):
        given["exclude_input_in_output"] = np.array([[defaults.excludes_input]])
    if not fields.has("include_stop_str_in_output"):
        given["include_stop_str_in_output"] = np.array([[defaults.includes_stop]])
    return given


def _of_beams(fields: Fields) -> Inputs:
    """What the classic engine took for beams where the request does not say."""
    width = fields.integer("beam_width") or 1
    if width <= 1:
        return {}
    values: Inputs = {
        "num_return_sequences": np.array([[width]], np.int32),
        "len_penalty": np.array([[0.0]], np.float32),
        "early_stopping": np.array([[True]]),
    }
    return {name: value for name, value in values.items() if not fields.has(name)}


def _asks_for_choice(fields: Fields) -> bool:
    top_k = fields.integer("runtime_top_k") or 0
    top_p, min_p = fields.number("runtime_top_p") or 0.0, fields.number("min_p") or 0.0
    return top_k != 1 and (top_k > 1 or top_p > 0.0 or min_p > 0.0)


def _refuse_what_engine_lacks(row: Inputs, table: Mapping[str, Tensor]) -> None:
    of_this_model = {n: a for n, a in row.items() if _is_of_this_model_alone(table[n])}
    Fields(of_this_model, table).refuse_unsupported()


def _is_of_this_model_alone(tensor: Tensor) -> bool:
    return tensor.support is Support.NEUTRAL_ONLY and tensor.target not in _OF_ENGINE
