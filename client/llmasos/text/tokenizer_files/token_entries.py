"""Reads one token as the files write it: its text, or an object with text and flags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from reprlib import repr as short
from typing import Any

from tokenizers import AddedToken

from llmasos.errors import CheckpointError

Token = str | AddedToken
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_NO_FLAGS = frozenset(("__type", "content", "id"))


def text_of(token: Token) -> str:
    return token if isinstance(token, str) else token.content


def token_of(entry: Any, where: str, **flags: bool) -> Token:
    """Returns a text, or the token of an object. where: file and field, for the CheckpointError."""
    return entry if isinstance(entry, str) else added_token(entry, where, **flags)


def added_token(entry: Any, where: str, **flags: bool) -> AddedToken:
    """Returns the token of an object with content. flags: override the object's own.

    Raises CheckpointError for a malformed token or an unknown flag.
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get("content"), str):
        raise CheckpointError(f"{where} has {short(entry)}, which is not a token")
    given = {name: value for name, value in entry.items() if name not in _NO_FLAGS}
    for name, value in given.items():
        if name not in _FLAGS or not isinstance(value, bool):
            raise CheckpointError(f"{where} has a token with {name} = {short(value)}")
    return AddedToken(entry["content"], **{**given, **flags})


def tokens_of(entries: Any, where: str, **flags: bool) -> list[Token]:
    """Returns a list of tokens; null is an empty list."""
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise CheckpointError(f"{where} must be a list, got {short(entries)}")
    return [token_of(entry, where, **flags) for entry in entries]


def numbered(entries: Iterable[tuple[Any, Any]], where: str) -> dict[int, Any]:
    """Entries by token id; raises CheckpointError for an id that is not a number."""
    found: dict[int, Any] = {}
    for key, entry in entries:
        if isinstance(key, bool) or not str(key).isdecimal():
            raise CheckpointError(f"{where} has the id {short(key)}; it must map ids and tokens")
        found[int(key)] = entry
    return found
