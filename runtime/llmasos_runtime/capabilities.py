"""The capabilities of a model runner: its KV cache and the steps that it can run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The size of a runner's KV cache and the steps that it can run; they never change.

    num_blocks, block_size: KV blocks of the cache, and tokens of one block.
    chunk_multiple: a chunk of a prompt, unless it is the last, must end where the number of
    computed tokens is a multiple of this.
    max_draft_tokens: most draft tokens of one sequence in a step; 0 if the runner returns only the
    scores of a sequence's last position.
    max_top_k: largest top_k that can be sampled, or None for any. A runner that returns only the
    likeliest tokens has a limit.
    min_copied_tokens: None, or, for a runner whose blocks hold a whole sequence each, the number of
    tokens from which copying a prefix is faster than computing it.
    copies_blocks: whether the beginning of a block can be copied to another one.
    """

    num_blocks: int
    block_size: int
    chunk_multiple: int = 1
    max_draft_tokens: int = 0
    max_top_k: int | None = None
    min_copied_tokens: int | None = None
    copies_blocks: bool = False
