"""How callers may write what they ask for: sampling parameters by name, chat messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypedDict

from typing_extensions import Unpack

from llmasos.errors import InvalidRequestError
from llmasos.sampling import SamplingParams

Message = dict[str, str]


class SamplingFields(TypedDict, total=False):
    """The fields of SamplingParams as keyword arguments; `stop` may be one string."""

    max_tokens: int
    min_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    seed: int | None
    stop: str | Sequence[str]
    stop_token_ids: Sequence[int]
    ignore_eos: bool


def sampling_params(
    params: SamplingParams | None, **given: Unpack[SamplingFields]
) -> SamplingParams:
    """One SamplingParams from either form; raises InvalidRequestError for both or neither's limits.

    Raises TypeError for a name that SamplingParams does not have.
    """
    unknown = given.keys() - {field.name for field in fields(SamplingParams)}
    if unknown:
        raise TypeError(f"SamplingParams has no field {', '.join(sorted(unknown))}")
    if params is not None:
        if given:
            raise InvalidRequestError(
                f"give either params or single fields, got both: {', '.join(given)}"
            )
        return params
    stop = given.get("stop", ())
    values: dict[str, Any] = {
        **given,
        "stop": (stop,) if isinstance(stop, str) else tuple(stop),
        "stop_token_ids": tuple(given.get("stop_token_ids", ())),
    }
    return SamplingParams(**values)


def params_of_each(
    params: SamplingParams | Sequence[SamplingParams] | None, *, count: int
) -> list[SamplingParams]:
    """One SamplingParams for each of `count` prompts."""
    if params is None:
        return [SamplingParams()] * count
    if isinstance(params, SamplingParams):
        return [params] * count
    if len(params) != count:
        raise InvalidRequestError(f"got {len(params)} SamplingParams for {count} prompts")
    return list(params)
