"""Tensors of an encoder-decoder that some checkpoints have, which config.json does not tell."""

from __future__ import annotations

from llmasos_builder.checkpoint.weights import Weights

OPTIONAL_TENSORS = "optional_tensors"
"""The field that a checkpoint's config gets when it is opened: those that are there."""
HEAD, HEAD_BIAS = "lm_head.weight", "final_logits_bias"


def optional_tensors(weights: Weights) -> list[str]:
    """Returns those that a checkpoint has."""
    return sorted(weights.names() & {HEAD, HEAD_BIAS})
