"""MPNet (Song et al., arXiv:2004.09297): transformers' MPNet models."""

from __future__ import annotations

import re

from llmasos_builder.architectures.config import MAX_HEADS, MAX_LAYERS, Config
from llmasos_builder.architectures.encoder.distance_buckets import distance_buckets
from llmasos_builder.architectures.encoder.embedding_head import embedding_head
from llmasos_builder.architectures.encoder.head import Head
from llmasos_builder.architectures.encoder.spec import EncoderNames, EncoderSpec
from llmasos_builder.architectures.encoder.task import EncoderTask
from llmasos_builder.architectures.families.bert import fill_mask_head, first_token_classifier

_POSITION_OFFSET = 2
_BUCKETS, _FARTHEST = 32, 128
NAMES = EncoderNames(
    tokens="mpnet.embeddings.word_embeddings",
    positions="mpnet.embeddings.position_embeddings",
    embedding_norm="mpnet.embeddings.LayerNorm",
    layer="mpnet.encoder.layer.{}.",
    attention_inputs=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
    attention_output="attention.attn.o",
    attention_norm="attention.LayerNorm",
    mlp_inputs="intermediate.dense",
    mlp_output="output.dense",
    mlp_norm="output.LayerNorm",
    distances="mpnet.encoder.relative_attention_bias",
    ignored=re.compile(r"mpnet\.embeddings\.position_ids|mpnet\.pooler\.dense\..*|lm_head\..*"),
)


def mpnet_spec(config: Config, task: EncoderTask) -> EncoderSpec:
    """Defaults are transformers' (MPNetConfig), except for sizes, which must be given.

    transformers counts 32 buckets whatever relative_attention_num_buckets is.
    """
    config.must_be("relative_attention_num_buckets", _BUCKETS)
    positions = config.size("max_position_embeddings", at_least=_POSITION_OFFSET + 2)
    return EncoderSpec(
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        intermediate_size=config.size("intermediate_size"),
        num_layers=config.size("num_hidden_layers", at_most=MAX_LAYERS),
        num_heads=config.size("num_attention_heads", at_most=MAX_HEADS),
        max_position_embeddings=positions - _POSITION_OFFSET,
        usual_length=positions - _POSITION_OFFSET,
        position_offset=_POSITION_OFFSET,
        norm_eps=config.number("layer_norm_eps", 1e-12),
        activation=config.activation("hidden_act", "gelu"),
        distances=distance_buckets(_BUCKETS, farthest=_FARTHEST),
        names=NAMES,
        head=_head(config, task),
    )


def _head(config: Config, task: EncoderTask) -> Head:
    match task.kind:
        case "embed":
            return embedding_head(config)
        case "classify":
            return first_token_classifier(task, config.size("hidden_size"))
        case "classify_tokens":
            return Head(task="classify_tokens", layers=(task.label_layer("classifier"),))
        case "fill_mask":
            return fill_mask_head(
                config,
                dense="lm_head.dense",
                activation="gelu",
                norm="lm_head.layer_norm",
                norm_eps=config.number("layer_norm_eps", 1e-12),
                decoder="lm_head.decoder",
                bias="lm_head.bias",
                tokens="mpnet.embeddings.word_embeddings",
            )
