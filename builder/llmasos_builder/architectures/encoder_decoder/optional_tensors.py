"""Tensors of an encoder-decoder that some checkpoints have, which config.json does not tell."""

from __future__ import annotations

from llmasos_builder.architectures.config import Config

OPTIONAL_TENSORS = "optional_tensors"
"""The field that a checkpoint's config gets when it is opened: those that are there."""
_KNOWN = ("final_logits_bias", "lm_head.weight")


def has_tensor(config: Config, name: str) -> bool:
    """Whether the checkpoint of this config.json has a tensor."""
    assert name in _KNOWN
    return name in (config.texts(OPTIONAL_TENSORS) or ())
