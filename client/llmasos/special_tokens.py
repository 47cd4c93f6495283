"""Special tokens as tokenizer_config.json names them, beside those of tokenizer.json.

A token's name there can be missing from tokenizer.json, or not be marked as special; Hugging
Face completes the tokenizer when it loads it, and this does the same in the same order, since
an added token's id depends on that order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tokenizers
from tokenizers import AddedToken

NAMED_TOKENS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


def complete_special_tokens(backend: tokenizers.Tokenizer, config: Mapping[str, Any]) -> None:
    """Add what tokenizer_config.json names and tokenizer.json lacks, in Hugging Face's order."""
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    listed: Mapping[str, Any] = config.get("added_tokens_decoder") or {}
    for index in sorted(listed, key=int):
        entry = listed[index]
        if entry["content"] not in known:
            backend.add_tokens([_added_token(entry)])
    special = {t.content for t in backend.get_added_tokens_decoder().values() if t.special}
    for token in _special_tokens(config):
        content = token_content(token)
        if content and content not in special:
            entry = token if isinstance(token, dict) else {"content": content, "normalized": False}
            backend.add_special_tokens([_added_token({**entry, "special": True})])


def _special_tokens(config: Mapping[str, Any]) -> Iterable[Any]:
    yield from (config.get(name) for name in NAMED_TOKENS)
    others = (name for name in config if name.endswith("_token") and name not in NAMED_TOKENS)
    yield from (config[name] for name in others if isinstance(config[name], str))
    for name in ("additional_special_tokens", "extra_special_tokens"):
        more = config.get(name) or []
        yield from more.values() if isinstance(more, dict) else more


def _added_token(entry: Mapping[str, Any]) -> AddedToken:
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return AddedToken(entry["content"], **{k: bool(entry[k]) for k in flags if k in entry})


def token_content(token: Any) -> str | None:
    """A token is written as its text or as an object with its text and flags."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) and token else None


def token_ids(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 0]
