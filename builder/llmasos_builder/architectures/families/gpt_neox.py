"""GPT-NeoX (Black et al., arXiv:2204.06745): transformers' GPTNeoXForCausalLM."""

from __future__ import annotations

import re

from llmasos_builder.architectures.config import MAX_HEAD_SIZE, MAX_HEADS, MAX_LAYERS, Config
from llmasos_builder.architectures.decoder.rotary import RotaryFields, rotary_frequencies
from llmasos_builder.architectures.decoder.spec import DecoderNames, DecoderSpec

NAMES = DecoderNames(
    embedding="gpt_neox.embed_in",
    layer="gpt_neox.layers.{}.",
    attention_norm="input_layernorm",
    attention_inputs=("attention.query_key_value",),
    attention_output="attention.dense",
    mlp_norm="post_attention_layernorm",
    mlp_inputs=("mlp.dense_h_to_4h",),
    mlp_output="mlp.dense_4h_to_h",
    final_norm="gpt_neox.final_layer_norm",
    head="lm_head",
    heads_interleaved=True,
    ignored=re.compile(r"gpt_neox\.layers\.\d+\.attention\.((masked_)?bias|rotary_emb\.inv_freq)"),
)
_ROTARY = RotaryFields(
    theta="rotary_emb_base", part="rotary_pct", default_part=0.25, kinds=("default", "linear")
)


def gpt_neox_spec(config: Config) -> DecoderSpec:
    """Defaults are transformers' (GPTNeoXConfig), except for sizes, which must be given."""
    hidden_size = config.size("hidden_size")
    num_heads = config.size("num_attention_heads", at_most=MAX_HEADS)
    if hidden_size % num_heads:
        raise config.wrong("hidden_size", f"must be a multiple of num_attention_heads {num_heads}")
    head_size = hidden_size // num_heads
    if head_size > MAX_HEAD_SIZE:
        text = f"makes heads of {head_size} elements, at most {MAX_HEAD_SIZE} are supported"
        raise config.wrong("hidden_size", text)
    config.must_be("head_dim", head_size)  # transformers would rotate by it, and no more
    num_layers = config.size("num_hidden_layers", at_most=MAX_LAYERS)
    attention_bias = config.flag("attention_bias", True)
    parallel = config.flag("use_parallel_residual", True)
    return DecoderSpec(
        vocab_size=config.size("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=config.size("intermediate_size"),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_size=head_size,
        max_position_embeddings=config.size("max_position_embeddings"),
        norm="layer",
        norm_eps=config.number("layer_norm_eps", 1e-5),
        residual="parallel" if parallel else "norm_first",
        activation=config.activation("hidden_act", "gelu"),
        gated=False,
        rotary_frequencies=rotary_frequencies(config, head_size=head_size, fields=_ROTARY),
        attention_scales=(head_size**-0.5,) * num_layers,
        attention_input_bias=attention_bias,
        attention_output_bias=attention_bias,
        mlp_bias=True,
        tied=config.flag("tie_word_embeddings", False),
        names=NAMES,
    )
