"""What several tokenizer classes do: cut words at whitespace, and put tokens around a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer, decoders, pre_tokenizers, processors

from llmasos.errors import CheckpointError

_SPACE = "▁"


def spaced(tokenizer: Tokenizer, scheme: str) -> Tokenizer:
    """Ends a word at every whitespace, which is dropped, and marks where words begin."""
    words = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme=scheme)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), words])
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme=scheme)
    return tokenizer


def template(tokenizer: Tokenizer, *parts: str | None) -> processors.TemplateProcessing:
    """Puts tokens around a text. parts: the tokens' texts, with None for the text."""
    named = [part for part in parts if part is not None]
    ids = {part: tokenizer.token_to_id(part) for part in named}
    return processors.TemplateProcessing(
        single=["$A" if part is None else part for part in parts],
        special_tokens=[(part, index) for part, index in ids.items() if index is not None],
    )


def needed(config: Mapping[str, Any], name: str) -> str:
    """A named token; raises CheckpointError where there is none."""
    token = config.get(name)
    if not isinstance(token, str) or not token:
        raise CheckpointError(f"the tokenizer's class needs {name}, and it is {token!r}")
    return token
