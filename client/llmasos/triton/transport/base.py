"""What the transports share: the fields of requests and the meaning of responses and errors."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmasos.arguments import check_text
from llmasos.errors import InvalidRequestError, RequestTimeoutError
from llmasos.generation.transport import (
    ChatPrompt,
    GenerationRequest,
    Prompt,
    TextPrompt,
)
from llmasos.outputs import FinishReason, StreamPiece, TokenLogprob, Usage
from llmasos.sampling import SamplingParams
from llmasos.sampling_parameter import SamplingParameter
from llmasos.sampling_table import SAMPLING_TABLE
from llmasos.text.chat_messages import Message, check_messages
from llmasos.text.chat_options import ChatOptions
from llmasos.text.text_task import TextTask

REMEMBERED_MS = 10_000
"""How long a stop stays valid for a request that is still on its way through the ensemble."""
STOP_TIMEOUT_S = 2.0
"""Time for a stopped request to end before its connection is broken."""
READY_TIMEOUT_S = 5.0
MAX_CONCURRENT = 64
"""The most requests of one `generate` that run together."""
CLOSED = "the client is closed"
TOKENS = "output_ids"
_OUTPUTS = ("text_output", "ending")
_LOGPROBS = "token_logprobs"
_INDEX = "sequence_index"
SEVERAL = "num_return_sequences"
Fields = dict[str, Any]
"""Values of a request by tensor name: str, bool, int, float, or a list of str or int."""


def outputs_of(fields: Fields, *, with_tokens: bool) -> tuple[str, ...]:
    """Returns the outputs to request for these inputs; the model would send all otherwise."""
    tokens = (TOKENS,) if with_tokens else ()
    logprobs = (_LOGPROBS,) if "logprobs" in fields else ()
    index = (_INDEX,) if SEVERAL in fields else ()
    return (*_OUTPUTS, *tokens, *logprobs, *index)


GUIDE_TYPE, GUIDE = "guided_decoding_guide_type", "guided_decoding_guide"
_NO_TOKEN = -1


def fields_of(request: GenerationRequest) -> Fields:
    """Returns the ensemble's tensors for one request; raises InvalidRequestError."""
    return request_fields(
        _prompt_fields(request.prompt), params=request.params, stream=request.stream
    )


def _prompt_fields(prompt: Prompt) -> Fields:
    if isinstance(prompt, TextPrompt):
        plain = text_fields(prompt.text, add_special_tokens=prompt.add_special_tokens)
        return {**plain, **task_fields(prompt.asked)}
    if isinstance(prompt, ChatPrompt):
        return chat_fields(check_messages(prompt.messages), prompt.options)
    raise InvalidRequestError("a server takes prompts as text, got token ids")


def text_fields(text: str, *, add_special_tokens: bool) -> Fields:
    """Returns the tensors of a prompt; add_special_tokens only if it is False."""
    beside = {} if add_special_tokens else {"add_special_tokens": False}
    return {"text_input": text, **beside}


def task_fields(asked: TextTask) -> Fields:
    """Returns the tensors of what is asked of a text; those that are empty are left out."""
    fields = {
        "task": asked.name,
        "source_language": asked.source_language,
        "target_language": asked.target_language,
        "decoder_text_input": asked.decoder_text,
    }
    return {name: value for name, value in fields.items() if value}


def chat_fields(messages: Sequence[Message], options: ChatOptions) -> Fields:
    """Returns the tensors of a conversation: lists and objects travel as JSON strings."""
    given = {"messages": list(messages), **options.given()}
    return {"text_input": "", **{name: _as_tensor(value) for name, value in given.items()}}


def _as_tensor(value: Any) -> str | bool:
    return value if isinstance(value, str | bool) else json.dumps(value, ensure_ascii=False)


def request_fields(source: Fields, *, params: SamplingParams, stream: bool) -> Fields:
    """Returns the ensemble's tensors for one request, with all of its SamplingParams.

    source: the tensors of its prompt or conversation.
    """
    fields: Fields = {
        **source,
        **_sampling_tensors(params),
        "stream": stream,
        "exclude_input_in_output": True,
    }
    if params.guide is not None:
        fields[GUIDE_TYPE], fields[GUIDE] = params.guide.kind, params.guide.text
    if params.open_fields:
        fields["use_generation_config"] = True
    if params.ignore_eos:
        fields["end_id"] = _NO_TOKEN  # in the place of the model's own
    return fields


def _sampling_tensors(params: SamplingParams) -> Fields:
    """Tensors of the parameters that say something the server would not do by itself."""
    tensors: Fields = {}
    for row in SAMPLING_TABLE:
        value = getattr(params, row.name)
        if row.ensemble_name is not None and _asks(row, value, params.open_fields):
            tensors[row.ensemble_name] = _tensor_of(row, value)
    return tensors


def _asks(row: SamplingParameter, value: Any, open_fields: frozenset[str]) -> bool:
    """Whether the server must be told; a default too where the model would replace it."""
    if row.name in open_fields:
        return False
    replaceable = bool(open_fields) and row.is_recommended and not row.is_list
    return row.is_always_sent or replaceable or value != row.default


def _tensor_of(row: SamplingParameter, value: Any) -> Any:
    if row.is_mapping:
        return json.dumps(dict(value))
    if row.is_list:
        return [check_text(row.name, v) if isinstance(v, str) else v for v in value]
    return value


def piece_of(values: Mapping[str, Any]) -> StreamPiece:
    """Returns one response as a piece; only the last has an ending."""
    text, token_ids = str(values.get("text_output", "")), tuple(values.get(TOKENS, ()))
    logprobs = tuple(map(_logprob, json.loads(values.get(_LOGPROBS) or "[]")))
    index = int(values.get(_INDEX, 0))
    if not values.get("ending"):
        return StreamPiece(text=text, token_ids=token_ids, logprobs=logprobs, index=index)
    ending: dict[str, Any] = json.loads(values["ending"])
    return StreamPiece(
        text=text,
        token_ids=token_ids,
        finish_reason=FinishReason(ending["finish_reason"]),
        stop_reason=ending["stop_reason"],
        usage=Usage(**ending["usage"]),
        logprobs=logprobs,
        index=index,
        num_unfinished=ending.get("num_unfinished", 0),
    )


def _logprob(plain: Mapping[str, Any]) -> TokenLogprob:
    return TokenLogprob(
        token_id=plain["token_id"],
        logprob=plain["logprob"],
        top_logprobs=tuple((token, value) for token, value in plain["top_logprobs"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """The time to give up waiting for an answer; None waits for ever."""

    timeout_s: float | None
    ends_at: float | None

    @classmethod
    def after(cls, timeout_s: float | None) -> Deadline:
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        return cls(timeout_s=timeout_s, ends_at=ends_at)

    def remaining_s(self) -> float | None:
        """Seconds left; raises RequestTimeoutError when there are none."""
        if self.ends_at is None:
            return None
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise self.error()
        return left

    def error(self) -> RequestTimeoutError:
        return RequestTimeoutError(f"no complete answer within {self.timeout_s} s")
