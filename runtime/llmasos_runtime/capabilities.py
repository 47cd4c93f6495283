"""What a model runner can do, said once, so that nobody has to ask it by attribute."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Size of a runner's KV cache, and which steps it can run. They stay as they are.

    num_blocks, block_size: KV blocks of the cache, and tokens of one block.
    chunk_multiple: a chunk of a prompt that is not the last one must end where the number of
        computed tokens is a multiple of this.
    max_draft_tokens: most draft tokens of one sequence in a step; 0 if the runner returns the
        scores of a sequence's last position alone.
    max_top_k: largest top_k that can be sampled, or None for any. A runner that returns only
        the likeliest tokens has a limit.
    min_copied_tokens: None, or for a runner whose blocks hold a whole sequence each and which
        runs a step's copies: from this many tokens on a copy is faster than computing them.
    """

    num_blocks: int
    block_size: int
    chunk_multiple: int = 1
    max_draft_tokens: int = 0
    max_top_k: int | None = None
    min_copied_tokens: int | None = None
