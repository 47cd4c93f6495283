"""What an engine will take of the memory, said before it is loaded.

How much that is, is known to the code of its target: `llmasos_runtime.openvino.memory`,
`llmasos_runtime.tensorrt.memory`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmasos_runtime.kv_cache.blocks import blocks_for

NUMBER_BYTES: Mapping[str, int] = {"f32": 4, "fp16": 2, "bf16": 2, "u8": 1}
"""Bytes of one number, by the name of its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """Bytes of an engine. block_size, block_bytes: of its KV cache, all layers together.

    mapped: weights as the file holds them. packed: their copy in the order of the kernels.
    activations: of a step of max_num_tokens with max_batch_size sequences. overhead: code,
    graph and tokenizer.
    """

    mapped: int
    packed: int
    activations: int
    overhead: int
    block_size: int
    block_bytes: int

    @property
    def without_cache(self) -> int:
        return self.mapped + self.packed + self.activations + self.overhead

    @property
    def bytes_per_token(self) -> float:
        """Of the KV cache."""
        return self.block_bytes / self.block_size

    def num_sequences(self, memory: int, length: int) -> int:
        """How many of this many tokens fit into the memory beside all else."""
        blocks = max(memory - self.without_cache, 0) // self.block_bytes
        return blocks // blocks_for(length, self.block_size)
