"""The prompt of a request: token ids that a client sent, or those of its text."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from llmasos.errors import InvalidRequestError
from llmasos.text.source_texts import EncodedPrompt

from llmasos_runtime.engine.prompt_checks import check_prompt_length

if TYPE_CHECKING:
    from llmasos_runtime.triton.fields import Fields


class PromptFields(TypedDict):
    """Those of Request."""

    prompt_token_ids: tuple[int, ...]
    decoder_token_ids: tuple[int, ...]
    task: str


def prompt_fields(
    fields: Fields, prompt: EncodedPrompt | None, *, max_seq_len: int
) -> PromptFields:
    """Returns the prompt's fields of a Request; raises InvalidRequestError.

    prompt: the tokens of the request's text, if it has any.
    """
    text = None if prompt is None else tuple(prompt.token_ids)
    token_ids = _token_ids(fields, text, max_seq_len=max_seq_len)
    begin = _decoder_token_ids(fields)
    if prompt is not None and begin:
        raise InvalidRequestError(
            f"decoder_input_ids must be left out where text is given, got {len(begin)} tokens"
        )
    return PromptFields(
        prompt_token_ids=token_ids,
        decoder_token_ids=begin if prompt is None else prompt.decoder_token_ids,
        task=fields.text("task") if prompt is None else prompt.task,
    )


def _decoder_token_ids(fields: Fields) -> tuple[int, ...]:
    """Of a request with tokens; decoder_input_lengths may be left out."""
    num_ids = fields.num_elements("decoder_input_ids")
    length = fields.integer("decoder_input_lengths")
    length = num_ids if length is None else length
    if not 0 <= length <= num_ids:
        raise InvalidRequestError(
            f"decoder_input_lengths must be between 0 and the {num_ids} tokens of "
            f"decoder_input_ids, got {length}"
        )
    return tuple(fields.integers("decoder_input_ids", most=length)) if length else ()


def _token_ids(
    fields: Fields, text: tuple[int, ...] | None, *, max_seq_len: int
) -> tuple[int, ...]:
    """text: the token ids of the request's text, if it has any."""
    num_ids = fields.num_elements("input_ids")
    if text is not None:
        if num_ids:
            raise InvalidRequestError(
                f"input_ids must be left out where text is given, got {num_ids} tokens"
            )
        check_prompt_length(len(text), max_seq_len=max_seq_len)
        return text
    length = fields.integer("input_lengths")
    if length is None and not num_ids:
        raise InvalidRequestError(
            "the prompt is missing", hint="send input_ids and input_lengths, text_input or messages"
        )
    if length is None or not 0 <= length <= num_ids:
        raise InvalidRequestError(
            f"input_lengths must be between 0 and the {num_ids} tokens of input_ids, got {length}"
        )
    check_prompt_length(length, max_seq_len=max_seq_len)
    return tuple(fields.integers("input_ids", most=length))
