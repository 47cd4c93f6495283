"""OPT (Zhang et al., arXiv:2205.01068): transformers' OPTForCausalLM."""

from __future__ import annotations

import re
from dataclasses import replace

from llmasos_builder.architectures.config import MAX_HEADS, MAX_LAYERS, Config
from llmasos_builder.architectures.decoder.spec import DecoderNames, DecoderSpec

_UNUSED_POSITIONS = 2  # fairseq kept the first rows for padding
_NORM_EPS = 1e-5  # torch's own, which no field changes
NAMES = DecoderNames(
    embedding="model.decoder.embed_tokens",
    positions="model.decoder.embed_positions",
    layer="model.decoder.layers.{}.",
    attention_norm="self_attn_layer_norm",
    attention_inputs=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    attention_output="self_attn.out_proj",
    mlp_norm="final_layer_norm",
    mlp_inputs=("fc1",),
    mlp_output="fc2",
    final_norm="model.decoder.final_layer_norm",
    head="lm_head",
    ignored=re.compile(r"model\.decoder\.version"),
)


def opt_spec(config: Config) -> DecoderSpec:
    """Defaults are transformers' (OPTConfig), except for sizes, which must be given."""
    hidden_size = config.size("hidden_size")
    num_heads = config.size("num_attention_heads", at_most=MAX_HEADS)
    if hidden_size % num_heads:
        raise config.wrong("hidden_size", f"must be a multiple of num_attention_heads {num_heads}")
    num_layers = config.size("num_hidden_layers", at_most=MAX_LAYERS)
    embedding_size = config.size("word_embed_proj_dim", hidden_size)
    norm_first = config.flag("do_layer_norm_before", True)
    bias = config.flag("enable_bias", True)
    return DecoderSpec(
        vocab_size=config.size("vocab_size"),
        hidden_size=hidden_size,
        embedding_size=embedding_size,
        intermediate_size=config.size("ffn_dim"),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_size=hidden_size // num_heads,
        max_position_embeddings=config.size("max_position_embeddings"),
        position_offset=_UNUSED_POSITIONS,
        norm="layer",
        norm_eps=_NORM_EPS,
        norm_affine=config.flag("layer_norm_elementwise_affine", True),
        residual="norm_first" if norm_first else "norm_last",
        activation=config.activation("activation_function", "relu"),
        gated=False,
        rotary_frequencies=None,
        attention_scales=((hidden_size // num_heads) ** -0.5,) * num_layers,
        attention_input_bias=bias,
        attention_output_bias=bias,
        mlp_bias=bias,
        tied=config.flag("tie_word_embeddings", True),
        names=_names(
            projected=embedding_size != hidden_size,
            final_norm=norm_first and not config.flag("_remove_final_layer_norm", False),
        ),
    )


def _names(*, projected: bool, final_norm: bool) -> DecoderNames:
    return replace(
        NAMES,
        embedding_input="model.decoder.project_in" if projected else None,
        embedding_output="model.decoder.project_out" if projected else None,
        final_norm=NAMES.final_norm if final_norm else None,
    )
