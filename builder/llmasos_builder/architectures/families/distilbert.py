"""DistilBERT (Sanh et al., arXiv:1910.01108): transformers' DistilBert models."""

from __future__ import annotations

import re

from llmasos_builder.architectures.config import MAX_HEADS, MAX_LAYERS, Config
from llmasos_builder.architectures.encoder.embedding_head import embedding_head
from llmasos_builder.architectures.encoder.head import Head, HeadLinear
from llmasos_builder.architectures.encoder.spec import EncoderNames, EncoderSpec
from llmasos_builder.architectures.encoder.task import EncoderTask
from llmasos_builder.architectures.families.bert import fill_mask_head

_NORM_EPS = 1e-12
NAMES = EncoderNames(
    tokens="distilbert.embeddings.word_embeddings",
    positions="distilbert.embeddings.position_embeddings",
    embedding_norm="distilbert.embeddings.LayerNorm",
    layer="distilbert.transformer.layer.{}.",
    attention_inputs=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    attention_output="attention.out_lin",
    attention_norm="sa_layer_norm",
    mlp_inputs="ffn.lin1",
    mlp_output="ffn.lin2",
    mlp_norm="output_layer_norm",
    ignored=re.compile(
        r"distilbert\.embeddings\.position_ids|vocab_(transform|layer_norm|projector)\..*"
    ),
)


def distilbert_spec(config: Config, task: EncoderTask) -> EncoderSpec:
    """Defaults are transformers' (DistilBertConfig), except for sizes, which must be given.

    sinusoidal_pos_embds only says how positions were drawn: they are stored either way.
    """
    config = config.renamed(
        hidden_size="dim", num_attention_heads="n_heads", num_hidden_layers="n_layers"
    )
    config.ignore("sinusoidal_pos_embds", "seq_classif_dropout", "qa_dropout")
    positions = config.size("max_position_embeddings")
    return EncoderSpec(
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("dim"),
        intermediate_size=config.size("hidden_dim"),
        num_layers=config.size("n_layers", at_most=MAX_LAYERS),
        num_heads=config.size("n_heads", at_most=MAX_HEADS),
        max_position_embeddings=positions,
        usual_length=positions,
        norm_eps=_NORM_EPS,
        activation=config.activation("activation", "gelu"),
        names=NAMES,
        head=_head(config, task),
    )


def _head(config: Config, task: EncoderTask) -> Head:
    match task.kind:
        case "embed":
            return embedding_head(config)
        case "classify":
            dense = HeadLinear(
                name="pre_classifier",
                size=config.size("dim"),
                bias="pre_classifier.bias",
                activation="relu",
            )
            labels = task.label_layer("classifier")
            return Head(task="classify", pooling=("first",), layers=(dense, labels))
        case "classify_tokens":
            return Head(task="classify_tokens", layers=(task.label_layer("classifier"),))
        case "fill_mask":
            return fill_mask_head(
                config.renamed(dim="hidden_size"),
                dense="vocab_transform",
                activation=config.text("activation", "gelu"),
                norm="vocab_layer_norm",
                norm_eps=_NORM_EPS,
                decoder="vocab_projector",
                bias="vocab_projector.bias",
                tokens="distilbert.embeddings.word_embeddings",
            )
