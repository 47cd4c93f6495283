"""Translates a client's tensors into a request for the engine and the form of its reply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmasos.contract.engine import ENGINE_INPUTS
from llmasos.contract.ensemble import ENSEMBLE_INPUTS
from llmasos.errors import InvalidRequestError
from llmasos.guide import KINDS, MAX_CHARACTERS, Guide
from llmasos.sampling import SamplingParams
from llmasos.sampling_limits import MAX_DEADLINE_MS, MAX_DRAFT_TOKENS
from llmasos.sampling_parameter import SamplingParameter
from llmasos.sampling_table import PARAMETERS, SAMPLING_TABLE
from llmasos.text.source_texts import EncodedPrompt

from llmasos_runtime.sequences.request import Request
from llmasos_runtime.triton.listed_tokens import (
    Decode,
    bad_words,
    listed_words,
    logit_bias,
    stops,
    token_lists,
)
from llmasos_runtime.triton.prompt_fields import prompt_fields

if TYPE_CHECKING:
    from llmasos_runtime.triton.fields import Fields

ENGINE_TABLE = {tensor.name: tensor for tensor in ENGINE_INPUTS}
ENSEMBLE_TABLE = {tensor.target: tensor for tensor in ENSEMBLE_INPUTS if tensor.model == "engine"}
_INPUTS = {row.name: row.engine_name for row in SAMPLING_TABLE if row.engine_name is not None}
"""Inputs of the engine by the fields of SamplingParams that they say."""
_GUIDE_TYPE, _GUIDE = "guided_decoding_guide_type", "guided_decoding_guide"
_OF_CHOICE = ("top_k", "top_p", "min_p", "top_p_min", "top_p_decay", "top_p_reset_ids")
Encode = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """request: for the engine. streams: one response for each piece, else one in all."""

    request: Request
    streams: bool


def read_request(
    fields: Fields,
    *,
    request_id: str,
    prompt: EncodedPrompt | None = None,
    decode: Decode,
    encode: Encode,
    eos_token_ids: tuple[int, ...],
    max_seq_len: int,
    default_deadline_ms: int,
) -> EngineRequest:
    """Checks and translates the inputs; raises InvalidRequestError naming field and value.

    prompt: the token ids of the request's text; None if input_ids holds the prompt.
    """
    fields.refuse_unsupported()
    params = _params(fields, decode=decode, encode=encode, eos_token_ids=eos_token_ids)
    if params.deadline_ms is None:
        params = replace(params, deadline_ms=min(default_deadline_ms, MAX_DEADLINE_MS))
    streams = fields.boolean("streaming") or False
    return EngineRequest(
        request=Request(
            request_id=request_id,
            **prompt_fields(fields, prompt, max_seq_len=max_seq_len),
            params=params,
            bad_words=tuple(map(tuple, listed_words(fields, "bad_words_list"))),
            draft_token_ids=_drafts(fields),
            wants_logits=fields.boolean("return_generation_logits") or False,
            is_timed=fields.boolean("return_perf_metrics") or False,
            echo=not streams and not fields.boolean("exclude_input_in_output"),
        ),
        streams=streams,
    )


def _drafts(fields: Fields) -> tuple[int, ...]:
    count = fields.num_elements("draft_input_ids")
    if count > MAX_DRAFT_TOKENS:
        raise InvalidRequestError(
            f"draft_input_ids holds {count} tokens, at most {MAX_DRAFT_TOKENS}"
        )
    return tuple(fields.integers("draft_input_ids")) if count else ()


def _params(
    fields: Fields, *, decode: Decode, encode: Encode, eos_token_ids: tuple[int, ...]
) -> SamplingParams:
    open_fields = _open_fields(fields)
    given = _given(fields)
    if fields.boolean("return_log_probs"):
        given.setdefault("logprobs", 0)
    if "max_tokens" not in given.keys() | open_fields:
        raise InvalidRequestError(f"{fields.display_name(_INPUTS['max_tokens'])} is missing")
    stop, stop_token_ids = stops(fields, decode)
    end_id = fields.integer("end_id")
    replaces_end = end_id is not None and (end_id,) != eos_token_ids
    if replaces_end and end_id is not None and end_id >= 0:
        stop_token_ids = (*stop_token_ids, end_id)
    try:
        return SamplingParams(
            **_in_the_classic_way(given),
            **token_lists(fields),
            bad_words=bad_words(fields),
            logit_bias=logit_bias(fields, encode),
            stop=stop,
            stop_token_ids=stop_token_ids,
            ignore_eos=replaces_end,
            guide=_guide(fields),
            open_fields=open_fields,
        )
    except InvalidRequestError as error:
        raise InvalidRequestError(_in_clients_words(str(error), fields)) from error


def _given(fields: Fields) -> dict[str, Any]:
    """The parameters of one value that the client sent, by the fields of SamplingParams."""
    rows = (row for row in SAMPLING_TABLE if row.name in _INPUTS)
    scalars = (row for row in rows if not row.is_list and not row.is_mapping)
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
    or less is absent, and so are an n or a beam_width of 0 and a top_p_reset_ids of -1. Beams are
    searched without a choice, whatever top_k and top_p say.
    """
    values = dict(given)
    if values.get("beam_width", 0) > 1:
        values = {name: value for name, value in values.items() if name not in _OF_CHOICE}
        if values.get("temperature") == 1.0:
            values["temperature"] = 0.0
    elif values.get("beam_width") == 0:
        del values["beam_width"]
    if values.get("top_p", 1.0) <= 0.0:
        del values["top_p"]
    if values.get("n") == 0:
        del values["n"]
    if values.get("top_p_reset_ids", 0) < 0:
        del values["top_p_reset_ids"]
    top_k, min_p = values.get("top_k", 0), values.get("min_p", 0.0)
    asks_for_choice = top_k > 1 or "top_p" in values or min_p > 0.0
    values.setdefault("temperature", 1.0 if asks_for_choice else 0.0)
    if top_k == 1 and values["temperature"] > 0.0:  # what is out of range is refused later
        values["temperature"] = 0.0
    return values


def _guide(fields: Fields) -> Guide | None:
    kind, text = ("".join(fields.texts(name)) for name in (_GUIDE_TYPE, _GUIDE))
    if not kind:
        if text:
            raise InvalidRequestError(
                f"{_GUIDE_TYPE} is missing, and {_GUIDE} is given", hint=f"send {', '.join(KINDS)}"
            )
        return None
    if fields.num_bytes(_GUIDE) > 4 * MAX_CHARACTERS:
        raise InvalidRequestError(
            f"{_GUIDE} has {fields.num_bytes(_GUIDE)} bytes, at most {MAX_CHARACTERS} characters "
            "are allowed"
        )
    if kind not in KINDS:
        raise InvalidRequestError(
            f"{_GUIDE_TYPE} must be one of {', '.join(KINDS)}, got {kind!r:.60}"
        )
    return Guide(kind, text)


def _in_clients_words(message: str, fields: Fields) -> str:
    """Renames the field that begins an error of SamplingParams to the name that the client sent."""
    word, space, rest = message.partition(" ")
    name = _INPUTS.get(word, word)
    return f"{fields.display_name(name)}{space}{rest}" if name in ENGINE_TABLE else message
