"""Special tokens as tokenizer_config.json names them, beside those of tokenizer.json.

A token's name there can be missing from tokenizer.json, or not be marked as special; Hugging
Face completes the tokenizer when it loads it, and this does the same in the same order, since
an added token's id depends on that order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from reprlib import repr as short
from typing import Any

import tokenizers
from tokenizers import AddedToken

from llmasos.errors import CheckpointError

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
    """Add what tokenizer_config.json names and tokenizer.json lacks, in Hugging Face's order.

    Raises CheckpointError for an entry that is not a token.
    """
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    for token in _listed_tokens(config):
        if token_content(token) not in known:
            backend.add_tokens([_added_token(token)])
    special = {t.content for t in backend.get_added_tokens_decoder().values() if t.special}
    for token in _special_tokens(config):
        if token_content(token) not in special:
            entry = token if isinstance(token, dict) else {"content": token, "normalized": False}
            backend.add_special_tokens([_added_token({**entry, "special": True})])


def _listed_tokens(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of added_tokens_decoder in the order of their ids."""
    listed = config.get("added_tokens_decoder") or {}
    if not isinstance(listed, dict) or not all(str(key).isdecimal() for key in listed):
        raise CheckpointError("tokenizer_config.json: added_tokens_decoder must map ids to tokens")
    entries = [listed[key] for key in sorted(listed, key=int)]
    for entry in entries:
        if not isinstance(entry, dict) or token_content(entry) is None:
            raise CheckpointError(
                f"tokenizer_config.json: added_tokens_decoder has {short(entry)}, which is no token"
            )
    return entries


def _special_tokens(config: Mapping[str, Any]) -> Iterable[Any]:
    """Every token named as special, as its text or as an object."""
    yield from (token for name in NAMED_TOKENS if token_content(token := config.get(name)))
    others = (name for name in config if name.endswith("_token") and name not in NAMED_TOKENS)
    yield from (config[name] for name in others if isinstance(config[name], str) and config[name])
    for name in ("additional_special_tokens", "extra_special_tokens"):
        more = config.get(name) or []
        if not isinstance(more, list | dict):
            raise CheckpointError(
                f"tokenizer_config.json: {name} must be a list, got {short(more)}"
            )
        for token in more.values() if isinstance(more, dict) else more:
            if token_content(token) is None:
                raise CheckpointError(
                    f"tokenizer_config.json: {name} has {short(token)}, which is no token"
                )
            yield token


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
