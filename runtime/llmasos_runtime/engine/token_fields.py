"""The fields of a request that name tokens: words become ids, and ids are checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from llmasos.errors import InvalidRequestError
from llmasos.text.tokenizer import Tokenizer

from llmasos_runtime.sequences.request import Request


def with_bad_words(request: Request, tokenizer: Tokenizer) -> Request:
    """Returns the request with the tokens of its bad words, alone and behind a space.

    A word that is spelt in other tokens can still come, as in transformers.
    """
    texts = request.params.bad_words
    if not texts:
        return request
    spelt = (form for text in texts for form in (text, f" {text.lstrip()}"))
    encoded = (tuple(tokenizer.encode(text, add_special_tokens=False)) for text in spelt)
    words = dict.fromkeys((*request.bad_words, *(word for word in encoded if word)))
    return replace(request, bad_words=tuple(words))


def check_token_fields(request: Request, *, vocab_size: int) -> None:
    """Raises InvalidRequestError for a token that the model does not have."""
    for name, token in _named_tokens(request):
        if not 0 <= token < vocab_size:
            raise InvalidRequestError(
                f"{name} holds token {token}, token ids are between 0 and {vocab_size - 1}"
            )


def _named_tokens(request: Request) -> Iterator[tuple[str, int]]:
    for token, _ in request.params.logit_bias:
        yield "logit_bias", token
    for token in request.params.allowed_token_ids:
        yield "allowed_token_ids", token
    for token in request.draft_token_ids:
        yield "draft_input_ids", token
    for word in request.bad_words:
        for token in word:
            yield "bad_words", token
