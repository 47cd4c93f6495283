"""GPT-2 (Radford et al., 2019): transformers' GPT2LMHeadModel."""

from __future__ import annotations

import re

from llmasos_builder.architectures.config import MAX_HEADS, MAX_LAYERS, Config
from llmasos_builder.architectures.decoder.spec import DecoderNames, DecoderSpec

NAMES = DecoderNames(
    embedding="transformer.wte",
    positions="transformer.wpe",
    layer="transformer.h.{}.",
    attention_norm="ln_1",
    attention_inputs=("attn.c_attn",),
    attention_output="attn.c_proj",
    mlp_norm="ln_2",
    mlp_inputs=("mlp.c_fc",),
    mlp_output="mlp.c_proj",
    final_norm="transformer.ln_f",
    head="lm_head",
    linears_transposed=True,  # transformers' Conv1D
    ignored=re.compile(r"transformer\.h\.\d+\.attn\.(masked_)?bias"),
)


def gpt2_spec(config: Config) -> DecoderSpec:
    """Defaults are transformers' (GPT2Config), except for sizes, which must be given.

    reorder_and_upcast_attn is ignored: it only changes the order and precision in which the same
    scores are computed.
    """
    config = config.renamed(
        hidden_size="n_embd",
        max_position_embeddings="n_positions",
        num_attention_heads="n_head",
        num_hidden_layers="n_layer",
    )
    hidden_size = config.size("n_embd")
    num_heads = config.size("n_head", at_most=MAX_HEADS)
    if hidden_size % num_heads:
        raise config.wrong("n_embd", f"must be a multiple of n_head {num_heads}")
    num_layers = config.size("n_layer", at_most=MAX_LAYERS)
    config.must_be("add_cross_attention", False)
    config.must_be("pruned_heads", {})
    return DecoderSpec(
        vocab_size=config.size("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=config.size("n_inner", 4 * hidden_size),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_size=hidden_size // num_heads,
        max_position_embeddings=config.size("n_positions"),
        norm="layer",
        norm_eps=config.number("layer_norm_epsilon", 1e-5),
        activation=config.activation("activation_function", "gelu_new"),
        gated=False,
        rotary_frequencies=None,
        attention_scales=_attention_scales(config, hidden_size // num_heads, num_layers),
        attention_input_bias=True,
        attention_output_bias=True,
        mlp_bias=True,
        tied=config.flag("tie_word_embeddings", True),
        names=NAMES,
    )


def _attention_scales(config: Config, head_size: int, num_layers: int) -> tuple[float, ...]:
    scale = head_size**-0.5 if config.flag("scale_attn_weights", True) else 1.0
    if config.flag("scale_attn_by_inverse_layer_idx", False):
        return tuple(scale / (layer + 1) for layer in range(num_layers))
    return (scale,) * num_layers
