"""POST /tokenize and /detokenize, as vLLM has them."""

from __future__ import annotations

from typing import Any

from llmasos.errors import InvalidRequestError
from llmasos.text.chat_messages import check_messages
from llmasos.text.prompt_encoder import PromptEncoder
from pydantic import Field

from llmasos_serving.gateway.api_error import ApiError
from llmasos_serving.gateway.fields import Strict
from llmasos_serving.gateway.served_model import ServedModel

_MAX_IDS = 1 << 20


class TokenizeRequest(Strict):
    """A prompt, or the messages of a chat."""

    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    add_special_tokens: bool = True


class DetokenizeRequest(Strict):
    """Token ids to be text again."""

    model: str | None = None
    tokens: list[int] = Field(max_length=_MAX_IDS)


def tokenize(model: ServedModel, request: TokenizeRequest) -> dict[str, Any]:
    """Returns the ids of a text; raises InvalidRequestError for one that can never fit."""
    encoder = PromptEncoder(model.tokenizer, max_seq_len=model.max_seq_len)
    if (request.prompt is None) == (request.messages is None):
        raise ApiError("send either prompt or messages", param="prompt")
    if request.messages is not None:
        ids = encoder.encode_chat(check_messages(request.messages))
    else:
        text = request.prompt or ""
        encoder.check_bytes(len(text.encode(errors="replace")), "prompt")
        ids = encoder.encode(text, add_special_tokens=request.add_special_tokens)
    return {"count": len(ids), "max_model_len": model.max_seq_len, "tokens": ids}


def detokenize(model: ServedModel, request: DetokenizeRequest) -> dict[str, Any]:
    """Returns the text of ids, special tokens included."""
    size = model.tokenizer.vocab_size
    for token in request.tokens:
        if not 0 <= token < size:
            raise InvalidRequestError(
                f"tokens holds {token}, token ids are between 0 and {size - 1}"
            )
    return {"prompt": model.tokenizer.decode(request.tokens, skip_special_tokens=False)}
