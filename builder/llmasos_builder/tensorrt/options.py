"""Options of a TensorRT network besides the model itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from llmasos.engine.plan import Precision

ComputeType = Literal["f32", "fp16", "bf16"]
COMPUTE_TYPES: Mapping[Precision, ComputeType] = {
    "f32": "f32",
    "fp16": "fp16",
    "bf16": "bf16",
    "int8": "fp16",
    "int4": "fp16",
    "fp8": "fp16",
    "nvfp4": "fp16",
}
"""Types of activations and KV cache, by the precision of the weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """Sizes that the engine is compiled for.

    max_batch_size: rows, and so KV slots, of one step.
    max_seq_len: tokens of one KV slot.
    prefill_length: the most tokens of one row in one step.
    num_candidates: number of likeliest tokens that a step returns for each row.
    full_logits: True if a step also returns the logits of the whole vocabulary.
    """

    precision: Precision
    max_batch_size: int
    max_seq_len: int
    prefill_length: int
    num_candidates: int = 64
    full_logits: bool = False

    def __post_init__(self) -> None:
        assert 1 <= self.prefill_length <= self.max_seq_len
        assert self.max_batch_size >= 1 and self.num_candidates >= 1

    @property
    def compute_type(self) -> ComputeType:
        return COMPUTE_TYPES[self.precision]
