"""Llama (Touvron et al., arXiv:2302.13971): transformers' LlamaForCausalLM."""

from __future__ import annotations

import re

from llmasos_builder.architectures.config import MAX_HEAD_SIZE, MAX_HEADS, MAX_LAYERS, Config
from llmasos_builder.architectures.decoder.rotary import (
    LLAMA_ROTARY,
    RotaryFields,
    longest_text,
    rotary,
)
from llmasos_builder.architectures.decoder.spec import DecoderNames, DecoderSpec
from llmasos_builder.architectures.decoder.window import Windows

NAMES = DecoderNames(
    embedding="model.embed_tokens",
    layer="model.layers.{}.",
    attention_norm="input_layernorm",
    attention_inputs=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    attention_output="self_attn.o_proj",
    mlp_norm="post_attention_layernorm",
    mlp_inputs=("mlp.gate_proj", "mlp.up_proj"),
    mlp_output="mlp.down_proj",
    final_norm="model.norm",
    head="lm_head",
    ignored=re.compile(r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"),
)


def llama_spec(config: Config) -> DecoderSpec:
    """Defaults are transformers' (LlamaConfig), except for sizes, which must be given."""
    attention_bias = config.flag("attention_bias", False)
    config.must_be("rope_interleaved", False)
    return llama_like_spec(
        config,
        attention_input_bias=attention_bias,
        attention_output_bias=attention_bias,
        mlp_bias=config.flag("mlp_bias", False),
    )


def llama_like_spec(
    config: Config,
    *,
    names: DecoderNames = NAMES,
    attention_input_bias: bool = False,
    attention_output_bias: bool = False,
    mlp_bias: bool = False,
    default_head_size: int | None = None,
    default_kv_heads: int | None = None,
    default_norm_eps: float = 1e-6,
    rotary_fields: RotaryFields = LLAMA_ROTARY,
    windows: Windows = None,
) -> DecoderSpec:
    """Reads Llama's fields, also for networks that differ only in the arguments.

    default_head_size: None is an equal share of the hidden size. default_kv_heads: the value if
    num_key_value_heads is missing; None, like null there, is the number of heads. windows: see
    `window`.
    """
    hidden_size = config.size("hidden_size")
    num_heads = config.size("num_attention_heads", at_most=MAX_HEADS)
    shared = default_head_size is None and not config.has("head_dim")
    if shared and hidden_size % num_heads:
        raise config.wrong("hidden_size", f"must be a multiple of num_attention_heads {num_heads}")
    default_head_size = default_head_size or hidden_size // num_heads or None
    head_size = config.size("head_dim", default_head_size, at_most=MAX_HEAD_SIZE)
    num_layers = config.size("num_hidden_layers", at_most=MAX_LAYERS)
    positions = rotary(config, head_size=head_size, fields=rotary_fields)
    return DecoderSpec(
        vocab_size=config.size("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=config.size("intermediate_size"),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=_num_kv_heads(config, num_heads, default_kv_heads),
        head_size=head_size,
        max_position_embeddings=longest_text(config),
        norm="rms",
        norm_eps=config.number("rms_norm_eps", default_norm_eps),
        activation=config.activation("hidden_act", "silu"),
        gated=True,
        rotary_frequencies=positions.frequencies,
        rotary_scale=positions.scale,
        long_rotary=positions.long,
        attention_scales=(head_size**-0.5,) * num_layers,
        attention_windows=windows,
        attention_input_bias=attention_input_bias,
        attention_output_bias=attention_output_bias,
        mlp_bias=mlp_bias,
        tied=config.flag("tie_word_embeddings", False),
        names=names,
    )


def _num_kv_heads(config: Config, num_heads: int, default: int | None) -> int:
    if default is None or config.is_null("num_key_value_heads"):
        default = num_heads
    # A default that is more than there are heads fits no network, so one must be given.
    fitting = default if default <= num_heads else None
    return config.size("num_key_value_heads", fitting, at_most=num_heads)
