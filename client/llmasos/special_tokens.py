"""Special tokens as tokenizer_config.json names them, beside those of tokenizer.json.

A token's name there can be missing from tokenizer.json, or not be marked as special; Hugging
Face completes the tokenizer when it loads it, and this does the same in the same order, since
an added token's id depends on that order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tokenizers
from tokenizers import AddedToken, processors

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
    for name in ("additional_special_tokens", "extra_special_tokens"):
        more = config.get(name) or []
        yield from more.values() if isinstance(more, dict) else more


def _added_token(entry: Mapping[str, Any]) -> AddedToken:
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return AddedToken(entry["content"], **{k: bool(entry[k]) for k in flags if k in entry})


def complete_post_processor(backend: tokenizers.Tokenizer, config: Mapping[str, Any]) -> None:
    """`add_bos_token` and `add_eos_token`, where given, decide what encoding adds."""
    if "add_bos_token" not in config and "add_eos_token" not in config:
        return
    bos = token_content(config.get("bos_token")) if config.get("add_bos_token") else None
    eos = token_content(config.get("eos_token")) if config.get("add_eos_token") else None
    ids = {t: i for t in (bos, eos) if t and (i := backend.token_to_id(t)) is not None}
    parts = [bos if bos in ids else None, "$A", eos if eos in ids else None]
    backend.post_processor = processors.TemplateProcessing(
        single=" ".join(part for part in parts if part), special_tokens=list(ids.items())
    )


def token_content(token: Any) -> str | None:
    """A token is written as its text or as an object with its text and flags."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) and token else None


def token_ids(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 0]
