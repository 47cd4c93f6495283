"""Qwen2 (arXiv:2407.10671) and Qwen3 (arXiv:2505.09388): transformers' Qwen{2,3}ForCausalLM."""

from __future__ import annotations

from dataclasses import replace

from llmasos_builder.architectures.config import Config
from llmasos_builder.architectures.decoder.spec import DecoderSpec
from llmasos_builder.architectures.decoder.window import windows_of_some_layers
from llmasos_builder.architectures.families.llama import NAMES, llama_like_spec

_QWEN3_NAMES = replace(NAMES, head_norms=("self_attn.q_norm", "self_attn.k_norm"))
_QWEN3_HEAD_SIZE = 128
_KV_HEADS = 32


def qwen2_spec(config: Config) -> DecoderSpec:
    """A Llama with biases on query, key and value.

    Defaults are transformers' (Qwen2Config), except for sizes, which must be given.
    """
    config.must_be("use_mrope", False)
    return llama_like_spec(
        config,
        attention_input_bias=True,
        default_kv_heads=_KV_HEADS,
        windows=windows_of_some_layers(config),
    )


def qwen3_spec(config: Config) -> DecoderSpec:
    """A Llama that normalizes each head of query and key.

    Defaults are transformers' (Qwen3Config), except for sizes, which must be given.
    """
    bias = config.flag("attention_bias", False)
    return llama_like_spec(
        config,
        names=_QWEN3_NAMES,
        attention_input_bias=bias,
        attention_output_bias=bias,
        default_head_size=_QWEN3_HEAD_SIZE,
        default_kv_heads=_KV_HEADS,
        windows=windows_of_some_layers(config),
    )
