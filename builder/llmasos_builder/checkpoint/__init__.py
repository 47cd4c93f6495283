"""Checkpoints: a Hugging Face directory, a hub id, a GGUF file or a known name."""

from __future__ import annotations

from llmasos_builder.checkpoint.checkpoint import Checkpoint as Checkpoint
from llmasos_builder.checkpoint.source import open_checkpoint as open_checkpoint
from llmasos_builder.checkpoint.weights import Weights as Weights

__all__ = ["Checkpoint", "Weights", "open_checkpoint"]
