"""The numbers that vocab.json gives to pieces, and what stands for pieces without one."""

from __future__ import annotations

from collections.abc import Mapping

import tokenizers

from llmasos.errors import CheckpointError
from llmasos.text.tokenizer_files.bounds import MAX_ADDED_TOKENS
from llmasos.text.tokenizer_files.declared_tokens import DeclaredTokens
from llmasos.text.tokenizer_files.token_entries import text_of

UNNUMBERED = "\x00unnumbered"
"""A token behind those of the network: it and those behind it are unknown to the network."""


class Numbers:
    """The ids of a tokenizer as the network has them. unknown: the unknown token."""

    def __init__(self, backend: tokenizers.Tokenizer, unknown: object) -> None:
        self._backend = backend
        self._first: int | None = backend.token_to_id(UNNUMBERED)
        self._unknown = (backend.token_to_id(unknown) if isinstance(unknown, str) else None) or 0

    def __call__(self, ids: list[int]) -> list[int]:
        """Puts the unknown token in place of those that the network does not have."""
        if self._first is None:
            return ids
        return [index if index < self._first else self._unknown for index in ids]

    @property
    def size(self) -> int:
        size: int = self._backend.get_vocab_size(with_added_tokens=True)
        return size if self._first is None else self._first

    def vocabulary(self) -> dict[str, int]:
        """Every token's id by its own text."""
        known: dict[str, int] = self._backend.get_vocab(with_added_tokens=True)
        if self._first is None:
            return known
        return {text: index for text, index in known.items() if index < self._first}


def check_numbers(ids: Mapping[str, int], name: str, unknown: str) -> None:
    """Raise CheckpointError for gaps, and without the unknown token. name: the file."""
    if unknown not in ids:
        raise CheckpointError(
            f"the unk_token {unknown!r}, for unknown characters, is not in {name}"
        )
    if sorted(ids.values()) != list(range(len(ids))):
        raise CheckpointError(
            f"{name} must number its {len(ids)} tokens from 0 without gaps, and does not"
        )


def placed(ids: Mapping[str, int], tokens: DeclaredTokens) -> dict[str, int]:
    """Returns the ids with those of the declared tokens, which follow in their order.

    Raises CheckpointError if two tokens have one id.
    """
    found = {**ids, **{token.content: index for index, token in tokens.added.items()}}
    for token in (*tokens.named.values(), *tokens.extra):
        if text := text_of(token):
            found.setdefault(text, len(found))
    if max(found.values()) > len(found) + MAX_ADDED_TOKENS:
        raise CheckpointError(
            f"a declared token has the id {max(found.values())}; it may be up to "
            f"{len(found) + MAX_ADDED_TOKENS}"
        )
    if len(set(found.values())) != len(found):
        raise CheckpointError("two of the declared tokens have one id")
    return found
