"""Mistral (Jiang et al., arXiv:2310.06825): transformers' MistralForCausalLM."""

from __future__ import annotations

from llmasos_builder.architectures.config import Config
from llmasos_builder.architectures.decoder.spec import DecoderSpec
from llmasos_builder.architectures.decoder.window import DEFAULT_WINDOW, windows_of_all_layers
from llmasos_builder.architectures.families.llama import llama_like_spec

_KV_HEADS = 8


def mistral_spec(config: Config) -> DecoderSpec:
    """A Llama with a sliding window.

    Defaults are transformers' (MistralConfig), except for sizes, which must be given.
    """
    return llama_like_spec(
        config,
        default_kv_heads=_KV_HEADS,
        windows=windows_of_all_layers(config, default=DEFAULT_WINDOW),
    )
