"""Sequences and schedulers with defaults that suit most tests."""

from __future__ import annotations

import math

from llmasos.engine.plan import Limits
from llmasos.sampling import SamplingParams
from llmasos_runtime.capabilities import Capabilities
from llmasos_runtime.scheduling.scheduler import Scheduler
from llmasos_runtime.sequences.sequence import Sequence

BLOCK_SIZE = 4
END = 0


def sequence(
    name: str = "a",
    *,
    prompt: int = 3,
    max_tokens: int = 4,
    min_tokens: int = 0,
    seed: int = 0,
    priority: int = 0,
    deadline: float = math.inf,
) -> Sequence:
    """A prompt of this many tokens 7."""
    return Sequence(
        request_id=name,
        token_ids=[7] * prompt,
        params=SamplingParams(max_tokens=max_tokens, min_tokens=min_tokens),
        max_len=prompt + max_tokens,
        end_token_ids=frozenset({END}),
        seed=seed,
        priority=priority,
        deadline=deadline,
    )


def scheduler(
    *,
    num_blocks: int = 1024,
    block_size: int = BLOCK_SIZE,
    max_batch_size: int = 8,
    max_num_tokens: int = 64,
    max_queue_size: int = 8,
    chunk_multiple: int = 1,
    reuse_prefixes: bool = False,
    max_drafts: int = 0,
    min_copied_tokens: int | None = None,
) -> Scheduler:
    return Scheduler(
        Limits(max_batch_size=max_batch_size, max_num_tokens=max_num_tokens, max_seq_len=4096),
        Capabilities(
            num_blocks=num_blocks,
            block_size=block_size,
            chunk_multiple=chunk_multiple,
            max_draft_tokens=max_drafts,
            min_copied_tokens=min_copied_tokens,
        ),
        max_queue_size=max_queue_size,
        reuse_prefixes=reuse_prefixes,
    )
