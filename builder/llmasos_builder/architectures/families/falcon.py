"""Falcon (Almazrouei et al., arXiv:2311.16867): transformers' FalconForCausalLM."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np

from llmasos_builder.architectures.config import MAX_HEAD_SIZE, MAX_HEADS, MAX_LAYERS, Config
from llmasos_builder.architectures.decoder.rotary import RotaryFields, rotary_frequencies
from llmasos_builder.architectures.decoder.spec import DecoderNames, DecoderSpec, Residual
from llmasos_builder.architectures.families.bloom import alibi_slopes

_MAX_POSITIONS = 2048  # what the published checkpoints leave out
_ROTARY = RotaryFields()
NAMES = DecoderNames(
    embedding="transformer.word_embeddings",
    layer="transformer.h.{}.",
    attention_norm="input_layernorm",
    attention_inputs=("self_attention.query_key_value",),
    heads_interleaved=True,
    attention_output="self_attention.dense",
    mlp_norm="input_layernorm",
    mlp_inputs=("mlp.dense_h_to_4h",),
    mlp_output="mlp.dense_4h_to_h",
    final_norm="transformer.ln_f",
    head="lm_head",
    ignored=re.compile(r"transformer\.h\.\d+\.self_attention\.rotary_emb\.inv_freq"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """The structure of a layer, which three fields describe in the ways of two generations."""

    num_kv_heads: int
    residual: Residual
    names: DecoderNames


def falcon_spec(config: Config) -> DecoderSpec:
    """Defaults are transformers' (FalconConfig), except for sizes, which must be given.

    The length is the exception: the published checkpoints have none.
    """
    config = _checked(config)
    hidden_size = config.size("hidden_size")
    num_heads = config.size("num_attention_heads", at_most=MAX_HEADS)
    head_size = hidden_size // num_heads
    if hidden_size % num_heads or head_size > MAX_HEAD_SIZE:
        raise config.wrong("hidden_size", f"does not make {num_heads} heads")
    num_layers = config.size("num_hidden_layers", at_most=MAX_LAYERS)
    alibi = config.flag("alibi", False)
    bias = config.flag("bias", False)
    layer = _layer(config, num_heads)
    return DecoderSpec(
        vocab_size=config.size("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=config.size("ffn_hidden_size", 4 * hidden_size),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=layer.num_kv_heads,
        head_size=head_size,
        max_position_embeddings=config.size("max_position_embeddings", _MAX_POSITIONS),
        norm="layer",
        norm_eps=config.number("layer_norm_epsilon", 1e-5),
        residual=layer.residual,
        activation=config.activation("activation", "gelu"),
        gated=False,
        rotary_frequencies=None
        if alibi
        else rotary_frequencies(config, head_size=head_size, fields=_ROTARY),
        attention_slopes=_slopes(num_heads, head_size) if alibi else None,
        attention_scales=(head_size**-0.5,) * num_layers,
        attention_input_bias=bias,
        attention_output_bias=bias,
        mlp_bias=bias,
        tied=config.flag("tie_word_embeddings", True),
        names=layer.names,
    )


def _checked(config: Config) -> Config:
    config.must_be("apply_residual_connection_post_layernorm", False)
    config.must_be("output_attentions", False)  # with it transformers' tokens see later ones
    return config.renamed(n_embed="hidden_size")


def _slopes(num_heads: int, head_size: int) -> tuple[float, ...]:
    """Returns slopes rounded to bf16, as in training, and scaled like the scores."""
    rounded = np.array(alibi_slopes(num_heads), ml_dtypes.bfloat16)
    return tuple(float(slope) * head_size**-0.5 for slope in rounded)


def _layer(config: Config, num_heads: int) -> _Layer:
    parallel = config.flag("parallel_attn", True)
    if config.flag("new_decoder_architecture", False):
        num_kv_heads = config.size("num_kv_heads", num_heads, at_most=num_heads)
        two_norms = config.size("num_ln_in_parallel_attn", 2, at_most=2) == 2
        if not parallel:
            raise config.unsupported(
                "parallel_attn", "only True with new_decoder_architecture is supported"
            )
        names = replace(NAMES, attention_norm="ln_attn", mlp_norm="ln_mlp") if two_norms else NAMES
        return _Layer(num_kv_heads=num_kv_heads, residual="parallel", names=names)
    if config.flag("multi_query", True):
        num_kv_heads = 1
        config.ignore("num_kv_heads")
    else:
        num_kv_heads = config.size("num_kv_heads", num_heads)
        if num_kv_heads != num_heads:
            raise config.unsupported(
                "num_kv_heads", f"only {num_heads} without multi_query is supported"
            )
    if parallel:
        config.must_be("num_ln_in_parallel_attn", 1)
        return _Layer(num_kv_heads=num_kv_heads, residual="parallel", names=NAMES)
    names = replace(NAMES, mlp_norm="post_attention_layernorm")
    return _Layer(num_kv_heads=num_kv_heads, residual="norm_first", names=names)
