"""Checkpoints: a Hugging Face directory, a hub id, a GGUF file or a known name."""

from __future__ import annotations

from llmasos_builder.checkpoint.changed_weights import ChangedWeights as ChangedWeights
from llmasos_builder.checkpoint.checkpoint import Checkpoint as Checkpoint
from llmasos_builder.checkpoint.huggingface.fp8_weights import Fp8Scales as Fp8Scales
from llmasos_builder.checkpoint.huggingface.fp8_weights import fp8_scales_of as fp8_scales_of
from llmasos_builder.checkpoint.huggingface.fp8_weights import is_in_fp8 as is_in_fp8
from llmasos_builder.checkpoint.huggingface.quantized.weights import int4_group_of as int4_group_of
from llmasos_builder.checkpoint.huggingface.quantized.weights import (
    stored_bits_of as stored_bits_of,
)
from llmasos_builder.checkpoint.source import open_checkpoint as open_checkpoint
from llmasos_builder.checkpoint.weights import Weights as Weights

__all__ = [
    "ChangedWeights",
    "Checkpoint",
    "Fp8Scales",
    "Weights",
    "fp8_scales_of",
    "int4_group_of",
    "is_in_fp8",
    "open_checkpoint",
    "stored_bits_of",
]
