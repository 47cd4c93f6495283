"""What a native engine will take of the memory, said before it is built or loaded.

The weights are mapped and read where they are: there is no copy of them. Buffers are those of one
pass (`Sizes`), for as many threads as there are cores here.
"""

from __future__ import annotations

from llmasos.engine.native_engine import BLOCK_SIZE, padded
from llmasos.engine.network_sizes import NetworkSizes
from llmasos.engine.plan import Limits

from llmasos_runtime.machine.memory_need import MemoryNeed
from llmasos_runtime.native.cores import num_usable_cores
from llmasos_runtime.native.memory import Sizes, max_rows

_FIXED_BYTES = 25 * 10**6
_BYTES_PER_TOKEN_NAME = 350
"""Of the vocabulary, in the tokenizer."""


def native_need(
    sizes: NetworkSizes, limits: Limits, *, engine_bytes: int | None = None
) -> MemoryNeed:
    """Memory of an engine; engine_bytes: of the weights' file, if it is there."""
    pass_sizes = Sizes(
        hidden=padded(sizes.hidden_size),
        inner=padded(sizes.widest),
        head=padded(sizes.head_size),
        num_heads=sizes.num_heads,
        num_kv_heads=sizes.num_kv_heads,
        num_layers=sizes.num_layers,
        max_rows=max_rows(limits),
        max_seq_len=limits.max_seq_len,
        num_threads=num_usable_cores(),
    )
    num_logits = min(limits.max_batch_size, limits.max_num_tokens)
    return MemoryNeed(
        mapped=engine_bytes or sizes.weight_bytes,
        packed=0,
        activations=pass_sizes.num_bytes + 4 * num_logits * padded(sizes.vocab_size, 32),
        overhead=_FIXED_BYTES + _BYTES_PER_TOKEN_NAME * sizes.vocab_size,
        block_size=BLOCK_SIZE,
        block_bytes=pass_sizes.block_bytes,
    )
