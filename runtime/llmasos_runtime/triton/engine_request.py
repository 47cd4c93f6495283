"""Translates a client's tensors into a request for the engine and the form of its reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmasos.contract.engine import ENGINE_INPUTS
from llmasos.contract.ensemble import ENSEMBLE_INPUTS
from llmasos.errors import InvalidRequestError
from llmasos.sampling import SamplingParams
from llmasos.sampling_parameter import SamplingParameter
from llmasos.sampling_table import (
    MAX_DEADLINE_MS,
    MAX_STOP_BYTES,
    MAX_STOP_STRINGS,
    MAX_STOP_TOKEN_IDS,
    PARAMETERS,
    SAMPLING_TABLE,
)

from llmasos_runtime.engine.admission import check_prompt_length
from llmasos_runtime.sequences.request import Request

if TYPE_CHECKING:
    from llmasos_runtime.triton.fields import Fields

ENGINE_TABLE = {tensor.name: tensor for tensor in ENGINE_INPUTS}
ENSEMBLE_TABLE = {tensor.target: tensor for tensor in ENSEMBLE_INPUTS if tensor.model == "engine"}
_INPUTS = {row.name: row.engine_name for row in SAMPLING_TABLE if row.engine_name is not None}
"""Inputs of the engine by the fields of SamplingParams that they say."""
_MAX_LISTED_IDS = 1 << 14
Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """request: for the engine. streams: one response for each piece, else one in all."""

    request: Request
    streams: bool


def read_request(
    fields: Fields,
    *,
    request_id: str,
    decode: Decode,
    eos_token_ids: tuple[int, ...],
    max_seq_len: int,
    default_deadline_ms: int,
) -> EngineRequest:
    """Checks and translates the inputs; raises InvalidRequestError naming field and value."""
    fields.refuse_unsupported()
    params = _params(fields, decode=decode, eos_token_ids=eos_token_ids)
    if params.deadline_ms is None:
        params = replace(params, deadline_ms=min(default_deadline_ms, MAX_DEADLINE_MS))
    streams = fields.boolean("streaming") or False
    excludes_input = fields.boolean("exclude_input_in_output")
    return EngineRequest(
        request=Request(
            request_id=request_id,
            prompt_token_ids=_prompt(fields, max_seq_len=max_seq_len),
            params=params,
            echo=not (streams if excludes_input is None else excludes_input),
        ),
        streams=streams,
    )


def _prompt(fields: Fields, *, max_seq_len: int) -> tuple[int, ...]:
    num_ids = fields.num_elements("input_ids")
    length = fields.integer("input_lengths")
    if length is None or not 0 <= length <= num_ids:
        raise InvalidRequestError(
            f"input_lengths must be between 0 and the {num_ids} tokens of input_ids, got {length}"
        )
    check_prompt_length(length, max_seq_len=max_seq_len)
    return tuple(fields.integers("input_ids", most=length))


def _params(fields: Fields, *, decode: Decode, eos_token_ids: tuple[int, ...]) -> SamplingParams:
    open_fields = _open_fields(fields)
    given = _given(fields)
    if "max_tokens" not in given.keys() | open_fields:
        raise InvalidRequestError(f"{fields.display_name(_INPUTS['max_tokens'])} is missing")
    stop, stop_token_ids = _stops(fields, decode)
    end_id = fields.integer("end_id")
    replaces_end = end_id is not None and (end_id,) != eos_token_ids
    if replaces_end and end_id is not None and end_id >= 0:
        stop_token_ids = (*stop_token_ids, end_id)
    try:
        return SamplingParams(
            **_in_the_classic_way(given),
            stop=stop,
            stop_token_ids=stop_token_ids,
            ignore_eos=replaces_end,
            open_fields=open_fields,
        )
    except InvalidRequestError as error:
        raise InvalidRequestError(_in_clients_words(str(error), fields)) from error


def _given(fields: Fields) -> dict[str, Any]:
    """The parameters of one value that the client sent, by the fields of SamplingParams."""
    scalars = (row for row in SAMPLING_TABLE if row.name in _INPUTS and not row.is_list)
    read = {row.name: _read(fields, row) for row in scalars}
    return {name: value for name, value in read.items() if value is not None}


def _read(fields: Fields, row: SamplingParameter) -> Any:
    """The value by whichever of its names the client sent; None if it sent none.

    Raises InvalidRequestError for two names of one parameter with different values.
    """
    names = (_INPUTS[row.name], *row.older_names)
    said = {name: value for name in names if (value := _value(fields, row, name)) is not None}
    if len(set(said.values())) > 1:
        both = " and ".join(f"{fields.display_name(name)} {value}" for name, value in said.items())
        raise InvalidRequestError(f"{both} contradict each other: they are one parameter")
    return next(iter(said.values()), None)


def _value(fields: Fields, row: SamplingParameter, name: str) -> Any:
    if row.type == "FP32":
        return fields.number(name)
    return fields.boolean(name) if row.type == "BOOL" else fields.integer(name)


def _open_fields(fields: Fields) -> frozenset[str]:
    """The fields left to the model's generation config, if the request asks for it."""
    if not fields.boolean("use_generation_config"):
        return frozenset()
    older = {row.name: row.older_names for row in SAMPLING_TABLE}
    names = {n: (_INPUTS.get(n, n), *older.get(n, ())) for n in PARAMETERS}
    return frozenset(n for n, known in names.items() if not any(map(fields.has, known)))


def _in_the_classic_way(given: dict[str, Any]) -> dict[str, Any]:
    """What is given, with a temperature and a top_p as the classic engine took them.

    Without a temperature the classic engine is greedy until something asks for a choice:
    then the temperature is 1. top_k = 1 leaves no choice. A top_p of 0
    or less is absent.
    """
    values = dict(given)
    if values.get("top_p", 1.0) <= 0.0:
        del values["top_p"]
    top_k, min_p = values.get("top_k", 0), values.get("min_p", 0.0)
    asks_for_choice = top_k > 1 or "top_p" in values or min_p > 0.0
    values.setdefault("temperature", 1.0 if asks_for_choice else 0.0)
    if top_k == 1:
        values["temperature"] = 0.0
    return values


def _stops(fields: Fields, decode: Decode) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Returns stop strings and stop tokens: a listed word of several tokens is matched as text."""
    fields.check_texts("stop_text", most=MAX_STOP_STRINGS, most_bytes=MAX_STOP_BYTES)
    texts = [text for text in fields.texts("stop_text") if text]
    num_ids = fields.num_elements("stop_token_ids")
    if num_ids > MAX_STOP_TOKEN_IDS:
        raise InvalidRequestError(
            f"stop_token_ids holds {num_ids} tokens, at most {MAX_STOP_TOKEN_IDS}"
        )
    token_ids = fields.integers("stop_token_ids")
    for word in _listed_words(fields):
        if len(word) == 1:
            token_ids += word
            continue
        text = decode(word)
        if not text:
            raise InvalidRequestError(f"stop_words_list holds {word}, which has no text")
        texts.append(text)
    return tuple(texts), tuple(token_ids)


def _listed_words(fields: Fields) -> list[list[int]]:
    """Reads the classic word list: row 0 has all ids, row 1 the end of each word, or -1 for
    none.
    """
    num_ids = fields.num_elements("stop_words_list") // 2
    if num_ids > _MAX_LISTED_IDS:
        raise InvalidRequestError(
            f"stop_words_list holds {num_ids} tokens, at most {_MAX_LISTED_IDS}"
        )
    matrix = fields.matrix("stop_words_list")
    if matrix is None:
        return []
    ids, ends = matrix.tolist()
    words: list[list[int]] = []
    begin = 0
    for end in ends:
        if end < 0:
            break
        if not begin < end <= len(ids):
            raise InvalidRequestError(
                f"stop_words_list: the offset {end} must be above {begin} and at most {len(ids)}"
            )
        word = ids[begin:end]
        if min(word) < 0:
            raise InvalidRequestError(f"stop_words_list holds the token {min(word)}, below 0")
        words.append(word)
        begin = end
    return words


def _in_clients_words(message: str, fields: Fields) -> str:
    """Renames the field that begins an error of SamplingParams to the name that the client sent."""
    word, space, rest = message.partition(" ")
    name = _INPUTS.get(word, word)
    return f"{fields.display_name(name)}{space}{rest}" if name in ENGINE_TABLE else message
