"""The size of the KV cache."""

from __future__ import annotations

from llmasos.engine.plan import Limits
from llmasos.errors import PlanError

from llmasos_runtime.kv_cache.blocks import blocks_for
from llmasos_runtime.options import EngineOptions


def num_blocks(
    limits: Limits,
    options: EngineOptions,
    *,
    block_size: int,
    block_bytes: int,
    available_bytes: int,
    available: str,
    parts: int = 1,
) -> int:
    """Returns the number of KV blocks: room for max_batch_size sequences of max_seq_len.

    parts: 2 where a sequence has an encoder's text of that length beside its own tokens.

    block_size: tokens of a block; block_bytes: its memory over all layers. available_bytes: the
    limit if options.kv_cache_bytes is not set; available: what messages call that limit. Raises
    PlanError if not even one sequence fits.
    """
    blocks_each = parts * blocks_for(limits.max_seq_len, block_size)
    name = available
    if options.kv_cache_bytes is not None:
        available_bytes, name = options.kv_cache_bytes, "kv_cache_bytes"
    count = available_bytes // block_bytes
    if count < blocks_each:
        raise PlanError(
            f"{name} is {available_bytes} bytes; one sequence of max_seq_len "
            f"{limits.max_seq_len} needs {blocks_each * block_bytes}",
            hint="give it more, or build with a smaller --max-seq-len",
        )
    if options.kv_cache_bytes is not None:
        return count
    return min(count, blocks_each * limits.max_batch_size)
