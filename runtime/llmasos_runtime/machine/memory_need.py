"""Predicts the memory of an engine before it is loaded.

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
    """The memory of an engine in bytes.

    block_size, block_bytes: tokens of a KV block, and its bytes over all layers. mapped: weights as
    the file holds them. packed: the copy that the kernels read. activations: those of a step of
    max_num_tokens with max_batch_size sequences. overhead: code, graph and tokenizer. texts_each:
    2 where a sequence keeps an encoder's text, as long as its own, beside it.
    """

    mapped: int
    packed: int
    activations: int
    overhead: int
    block_size: int
    block_bytes: int
    texts_each: int = 1

    @property
    def without_cache(self) -> int:
        return self.mapped + self.packed + self.activations + self.overhead

    @property
    def bytes_per_token(self) -> float:
        """Bytes of the KV cache for each token."""
        return self.block_bytes / self.block_size

    def num_sequences(self, memory: int, length: int) -> int:
        """The number of sequences of this length that fit into the memory besides all else."""
        blocks = max(memory - self.without_cache, 0) // self.block_bytes
        return blocks // (self.texts_each * blocks_for(length, self.block_size))
