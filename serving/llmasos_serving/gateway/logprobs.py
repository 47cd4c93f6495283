"""Log probabilities of tokens, in the two forms of OpenAI's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmasos.outputs import TokenLogprob
from llmasos.text.tokenizer import Tokenizer

_REPLACEMENT = "\ufffd"


def chat_logprobs(tokens: Sequence[TokenLogprob], tokenizer: Tokenizer) -> dict[str, Any]:
    """Of a chat completion: the tokens with their text, its bytes, and those in their place.

    bytes is null for a token that is part of a character, whose bytes text cannot tell.
    """
    return {
        "content": [
            {
                **_token(token.token_id, token.logprob, tokenizer),
                "top_logprobs": [_token(*top, tokenizer) for top in token.top_logprobs],
            }
            for token in tokens
        ],
        "refusal": None,
    }


def text_logprobs(
    tokens: Sequence[TokenLogprob], tokenizer: Tokenizer, *, offset: int
) -> dict[str, Any]:
    """Of a completion: lists beside each other. offset: of the first token in the text."""
    texts = [_text(token.token_id, tokenizer) for token in tokens]
    offsets = [offset + sum(map(len, texts[:index])) for index in range(len(texts))]
    return {
        "tokens": texts,
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [
            {_text(token_id, tokenizer): logprob for token_id, logprob in token.top_logprobs}
            for token in tokens
        ],
        "text_offset": offsets,
    }


def _token(token_id: int, logprob: float, tokenizer: Tokenizer) -> dict[str, Any]:
    text = _text(token_id, tokenizer)
    encoded = None if _REPLACEMENT in text else list(text.encode())
    return {"token": text, "logprob": logprob, "bytes": encoded}


def _text(token_id: int, tokenizer: Tokenizer) -> str:
    return tokenizer.decode([token_id], skip_special_tokens=False)
