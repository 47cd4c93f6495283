"""What the decoder of an encoder-decoder begins with, and the text that its encoder sees."""

from __future__ import annotations

from dataclasses import replace

from llmasos.engine.encoder_decoder_record import EncoderDecoderRecord
from llmasos.engine.plan import EnginePlan, Limits
from llmasos.errors import InvalidRequestError, UnsupportedFieldError
from llmasos.generation_config import GenerationConfig

from llmasos_runtime.engine.prompt_checks import check_prompt
from llmasos_runtime.sequences.request import Request

_START_AND_FORCED = 2


def with_decoder_prompt(request: Request, plan: EnginePlan, limits: Limits) -> Request:
    """Returns the request with its prompt as the encoder's text, if the plan has an encoder.

    As in transformers, a decoder that begins with one token goes on with forced_bos_token_id.
    Raises InvalidRequestError for a text that is empty, too long, or holds an invalid token id;
    UnsupportedFieldError for decoder tokens where there is no encoder.
    """
    record = plan.encoder_decoder
    if record is None:
        _refuse_fields_of_encoders(request, plan)
        return request
    if request.task and request.task not in record.tasks:
        known = ", ".join(sorted(record.tasks)) or "none"
        raise InvalidRequestError(
            f"task must be one of the model's, which are {known}, got {request.task!r:.60}"
        )
    text = request.prompt_token_ids
    check_prompt(text, vocab_size=plan.vocab_size, max_seq_len=limits.max_seq_len)
    begin = request.decoder_token_ids or _start(record)
    if len(begin) == 1 and record.forced_bos_token_id is not None:
        begin = (*begin, record.forced_bos_token_id)
    # What stands behind the decoder's first token alone is forced, as the target language is.
    is_forced = len(begin) == _START_AND_FORCED and begin[0] == record.decoder_start_token_id
    return replace(
        request,
        prompt_token_ids=begin,
        encoder_token_ids=text,
        num_forced_tokens=int(is_forced),
    )


def _refuse_fields_of_encoders(request: Request, plan: EnginePlan) -> None:
    count = len(request.decoder_token_ids)
    shown = f"{request.task!r:.60}" if request.task else f"{count} tokens"
    if request.task or count:
        raise UnsupportedFieldError(
            f"{'task' if request.task else 'decoder_input_ids'} is for encoder-decoders, and "
            f"{plan.name} has no encoder, got {shown}"
        )


def _start(record: EncoderDecoderRecord) -> tuple[int, ...]:
    if record.decoder_start_token_id is None:
        raise InvalidRequestError(
            "target_language must be given: the model's answers begin with a language's token"
        )
    return (record.decoder_start_token_id,)


def task_configs(plan: EnginePlan) -> dict[str, GenerationConfig]:
    """What the plan's config.json recommends for each of its tasks."""
    tasks = {} if plan.encoder_decoder is None else plan.encoder_decoder.tasks
    return {n: GenerationConfig.parse(params, name="config.json") for n, params in tasks.items()}
