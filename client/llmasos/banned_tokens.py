"""What a generation config says of single tokens: those that must not come, and the last one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmasos.errors import CheckpointError

_MANY = 4096


def bad_words_of(said: Mapping[str, Any], *, name: str) -> tuple[tuple[int, ...], ...]:
    """The words of bad_words_ids as token ids; raises CheckpointError.

    said: the file's fields that are not null. name: the file's.
    """
    words = said.get("bad_words_ids", [])
    is_sound = isinstance(words, list) and all(isinstance(word, list) for word in words)
    if not is_sound or len(words) > _MANY or not all(map(_is_token, _flat(words))) or [] in words:
        raise CheckpointError(
            f"{name}: bad_words_ids must be at most {_MANY} lists of token ids, got {words!r:.80}"
        )
    return tuple(map(tuple, words))


def forced_eos_of(said: Mapping[str, Any], *, name: str) -> int | None:
    """The token of forced_eos_token_id; raises CheckpointError. Of a list it is the first."""
    value = said.get("forced_eos_token_id")
    token: Any = value[0] if isinstance(value, list) and value else value
    if token is not None and not _is_token(token):
        raise CheckpointError(f"{name}: forced_eos_token_id must be a token id, got {value!r:.80}")
    return None if token is None else int(token)


def _is_token(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _flat(words: list[list[Any]]) -> list[Any]:
    return [token for word in words for token in word]
