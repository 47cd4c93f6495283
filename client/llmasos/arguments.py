"""Sampling parameters, prompts and chat messages in the forms that callers may pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from typing_extensions import Unpack

from llmasos.errors import InvalidRequestError
from llmasos.sampling import SAMPLING_FIELDS, SamplingFields, SamplingParams
from llmasos.text.chat_options import ChatFields, ChatOptions


class ChatArguments(SamplingFields, ChatFields, total=False):
    """The keyword arguments of a chat, besides its messages."""


def sampling_params(
    params: SamplingParams | None, **given: Unpack[SamplingFields]
) -> SamplingParams:
    """Returns one SamplingParams from either form; raises InvalidRequestError for both at once.

    Fields that are left out are open to the model's generation config; a SamplingParams object
    leaves none open. Raises TypeError for a name that SamplingParams does not have.
    """
    unknown = given.keys() - SAMPLING_FIELDS
    if unknown:
        raise TypeError(f"SamplingParams has no field {', '.join(sorted(unknown))}")
    if params is not None:
        _refuse_fields_too(given)
        return params
    values: dict[str, Any] = {**given}
    return SamplingParams.open_to_model(**values)


def params_of_one(params: SamplingParams | None, **given: Unpack[SamplingFields]) -> SamplingParams:
    """As `sampling_params`, for a method that returns the text of one answer."""
    chosen = sampling_params(params, **given)
    if chosen.n > 1:
        raise InvalidRequestError(
            f"n must be 1 where one text is returned, got {chosen.n}",
            hint="generate returns all of them, as choices",
        )
    return chosen


def params_of_each(
    params: SamplingParams | Sequence[SamplingParams] | None,
    *,
    count: int,
    **given: Unpack[SamplingFields],
) -> list[SamplingParams]:
    """One SamplingParams for each of `count` prompts; single fields are for all of them."""
    if params is None or isinstance(params, SamplingParams):
        return [sampling_params(params, **given)] * count
    _refuse_fields_too(given)
    if len(params) != count:
        raise InvalidRequestError(f"got {len(params)} SamplingParams for {count} prompts")
    return list(params)


def _refuse_fields_too(given: SamplingFields) -> None:
    if given:
        raise InvalidRequestError(
            f"give either params or single fields, got both: {', '.join(given)}"
        )


def check_prompt(prompt: object) -> str:
    """The prompt, which is text; raises InvalidRequestError naming its type."""
    return check_text("prompt", prompt)


def check_prompts(prompts: object) -> list[str]:
    """Returns the prompts as a list. A single str is refused: each of its letters would be a
    prompt.
    """
    if isinstance(prompts, str | bytes) or not isinstance(prompts, Iterable):
        raise InvalidRequestError(f"prompts must be a list of str, got {type(prompts).__name__}")
    return [check_text(f"prompts[{index}]", prompt) for index, prompt in enumerate(prompts)]


def chat_arguments(
    params: SamplingParams | None, **given: Unpack[ChatArguments]
) -> tuple[SamplingParams, ChatOptions]:
    """Splits the arguments of a chat into how to sample and how to render."""
    fields: dict[str, Any] = {**given}
    options = {name: fields.pop(name) for name in ChatFields.__optional_keys__ if name in fields}
    return sampling_params(params, **fields), ChatOptions(**options)


def check_timeout(timeout_s: float | None) -> float | None:
    """Seconds to wait, above 0, or None for ever; raises InvalidRequestError."""
    is_number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if timeout_s is not None and not (is_number and timeout_s > 0 and math.isfinite(timeout_s)):
        raise InvalidRequestError(f"timeout_s must be None or seconds above 0, got {timeout_s!r}")
    return timeout_s


def check_text(name: str, value: object) -> str:
    """Returns a str that can be encoded; anything else, or a lone surrogate, is refused by name."""
    if not isinstance(value, str):
        raise InvalidRequestError(f"{name} must be a str, got {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"{name} is not valid Unicode: a lone surrogate at character {error.start}"
        ) from error
    return value
