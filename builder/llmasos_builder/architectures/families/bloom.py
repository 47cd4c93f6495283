"""BLOOM (Le Scao et al., arXiv:2211.05100): transformers' BloomForCausalLM."""

from __future__ import annotations

import re

from llmasos_builder.architectures.config import MAX_HEAD_SIZE, MAX_HEADS, MAX_LAYERS, Config
from llmasos_builder.architectures.decoder.spec import DecoderNames, DecoderSpec

_MAX_POSITIONS = 2048  # what the published models were trained for and leave out
NAMES = DecoderNames(
    embedding="transformer.word_embeddings",
    embedding_norm="transformer.word_embeddings_layernorm",
    layer="transformer.h.{}.",
    attention_norm="input_layernorm",
    attention_inputs=("self_attention.query_key_value",),
    heads_interleaved=True,
    attention_output="self_attention.dense",
    mlp_norm="post_attention_layernorm",
    mlp_inputs=("mlp.dense_h_to_4h",),
    mlp_output="mlp.dense_4h_to_h",
    final_norm="transformer.ln_f",
    head="lm_head",
    ignored=re.compile(r"$."),  # nothing
)


def bloom_spec(config: Config) -> DecoderSpec:
    """Defaults are transformers' (BloomConfig), except for sizes, which must be given.

    The length is an exception: ALiBi has no limit, and the published checkpoints give none.
    slow_but_exact adds the same sums in another order, but if pretraining_tp is above 1
    transformers then leaves out biases.
    """
    config = config.renamed(
        n_embed="hidden_size", num_hidden_layers="n_layer", num_attention_heads="n_head"
    )
    hidden_size = config.size("hidden_size")
    num_heads = config.size("n_head", at_most=MAX_HEADS)
    head_size = hidden_size // num_heads
    if hidden_size % num_heads or head_size > MAX_HEAD_SIZE:
        raise config.wrong("hidden_size", f"does not make {num_heads} heads")
    num_layers = config.size("n_layer", at_most=MAX_LAYERS)
    config.must_be("apply_residual_connection_post_layernorm", False)
    if config.size("pretraining_tp", 1, at_least=0) > 1:
        config.must_be("slow_but_exact", False)
    return DecoderSpec(
        vocab_size=config.size("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_size=head_size,
        max_position_embeddings=config.size("seq_length", _MAX_POSITIONS),
        norm="layer",
        norm_eps=config.number("layer_norm_epsilon", 1e-5),
        activation="gelu_tanh",
        gated=False,
        rotary_frequencies=None,
        attention_slopes=alibi_slopes(num_heads),
        attention_scales=(head_size**-0.5,) * num_layers,
        attention_input_bias=True,
        attention_output_bias=True,
        mlp_bias=True,
        tied=config.flag("tie_word_embeddings", True),
        names=NAMES,
    )


def alibi_slopes(num_heads: int) -> tuple[float, ...]:
    """2^-8/n, 2^-16/n, … to 2^-8 for n heads (Press et al., arXiv:2108.12409).

    Heads beyond a power of two get every other slope of twice as many heads.
    """
    regular = 1 << (num_heads.bit_length() - 1)
    slopes = [2.0 ** (-8 * (head + 1) / regular) for head in range(regular)]
    between = [2.0 ** (-4 * (head + 1) / regular) for head in range(0, 2 * regular, 2)]
    return tuple(slopes + between[: num_heads - regular])
