"""A text whose keys and values an encoder computes into blocks of the KV cache."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class EncodedText:
    """A text's tokens and its blocks, in order.

    number: identifies it among the prefixes of the prefix cache, where decoders' tokens follow it.
    """

    token_ids: tuple[int, ...]
    blocks: tuple[int, ...]
    number: int
