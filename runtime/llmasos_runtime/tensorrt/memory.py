"""What an engine on a GPU will take of its memory, said before it is loaded."""

from __future__ import annotations

from llmasos.engine.network_sizes import NetworkSizes
from llmasos.engine.plan import KVCachePrecision, Limits

from llmasos_runtime.machine.memory_need import NUMBER_BYTES, MemoryNeed


def tensorrt_need(
    sizes: NetworkSizes,
    limits: Limits,
    *,
    compute: KVCachePrecision,
    engine_bytes: int | None = None,
) -> MemoryNeed:
    """The memory of an engine on a GPU: its weights, and slots of max_seq_len, which are its
    blocks.

    The memory of TensorRT's kernels is known to the engine alone; it has not been measured.
    """
    per_token = 2 * sizes.num_layers * sizes.num_kv_heads * sizes.head_size * NUMBER_BYTES[compute]
    return MemoryNeed(
        mapped=engine_bytes or sizes.weight_bytes,
        packed=0,
        activations=0,
        overhead=0,
        block_size=limits.max_seq_len,
        block_bytes=per_token * limits.max_seq_len,
    )
