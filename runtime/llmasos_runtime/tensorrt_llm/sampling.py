"""Translates SamplingParams to TensorRT-LLM's. It has never run with that package.

Stop strings are not passed on, since ours are matched on text. All end tokens are passed as stop
tokens: TensorRT-LLM has only one end token of its own, and a stop token stays visible in its
results, so that it can be counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from llmasos.errors import UnsupportedFieldError
from llmasos.sampling import SamplingParams

from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.tensorrt_llm.library import release_of

_KNOWN = frozenset(
    (
        *("max_tokens", "min_tokens", "temperature", "top_k", "top_p", "min_p", "seed"),
        *("stop", "stop_token_ids", "ignore_eos", "deadline_ms"),
        "speculate",  # changes no token, so that it may be left to TensorRT-LLM
    )
)
"""Fields that are passed on or handled here; any other must have its default."""
NO_END = -1
"""TensorRT-LLM's end token for a text that has none."""
_SINCE: Mapping[str, tuple[int, int]] = {"min_tokens": (1, 3), "min_p": (1, 3), "seed": (1, 3)}
"""Fields that earlier releases accept and ignore, or, for min_tokens, get wrong."""


def sampling_params(library: Any, sequence: Sequence) -> Any:
    """Returns the library's own SamplingParams for a sequence.

    Raises UnsupportedFieldError, naming the field, for what the library does not support.
    """
    params = sequence.params
    ends = sorted(sequence.end_token_ids)
    _refuse_unsupported(library, params, num_ends=len(ends))
    keeps_on = params.min_tokens > 0 and bool(ends)
    return library.SamplingParams(
        max_tokens=sequence.max_len - sequence.num_prompt_tokens,
        end_id=ends[0] if keeps_on else NO_END,
        pad_id=ends[0] if ends else 0,
        stop_token_ids=None if keeps_on or not ends else ends,
        include_stop_str_in_output=True,
        detokenize=False,
        **_choice(params),
        **({"min_tokens": params.min_tokens} if keeps_on else {}),
    )


def _choice(params: SamplingParams) -> dict[str, Any]:
    """The sampling fields; a field that is left out filters nothing."""
    if params.temperature == 0.0:
        return {"top_k": 1}
    chosen: dict[str, Any] = {"temperature": params.temperature}
    if params.top_k > 0:
        chosen["top_k"] = params.top_k
    if params.top_p < 1.0:
        chosen["top_p"] = params.top_p
    if params.min_p > 0.0:
        chosen["min_p"] = params.min_p
    if params.seed is not None:
        chosen["seed"] = params.seed
    return chosen


def _refuse_unsupported(library: Any, params: SamplingParams, *, num_ends: int) -> None:
    for field in fields(params):
        value = getattr(params, field.name)
        if field.name not in _KNOWN and value != field.default:
            raise UnsupportedFieldError(
                f"{field.name} is not supported with tensorrt_llm, got {value!r}"
            )
    is_random = params.temperature > 0.0
    asked = {
        "min_tokens": params.min_tokens > 0 and num_ends > 0,
        "min_p": is_random and params.min_p > 0.0,
        "seed": is_random and params.seed is not None,
    }
    for name, is_asked in asked.items():
        if is_asked and release_of(library) < _SINCE[name]:
            needed = ".".join(map(str, _SINCE[name]))
            raise UnsupportedFieldError(
                f"{name} needs tensorrt_llm {needed}, got {getattr(params, name)!r} and "
                f"{library.__version__} is installed"
            )
    if asked["min_tokens"] and num_ends > 1:
        raise UnsupportedFieldError(
            f"TensorRT-LLM supports min_tokens with one end token; this request has {num_ends}",
            hint="set ignore_eos, and give at most one stop_token_id",
        )
