"""BERT (Devlin et al., arXiv:1810.04805) and RoBERTa (Liu et al., arXiv:1907.11692): transformers'
Bert, Roberta and XLMRoberta models, which differ in positions and heads.
"""

from __future__ import annotations

import re

from llmasos_builder.architectures.config import MAX_HEADS, MAX_LAYERS, Config
from llmasos_builder.architectures.encoder.embedding_head import embedding_head
from llmasos_builder.architectures.encoder.head import Head, HeadLinear, HeadNorm
from llmasos_builder.architectures.encoder.spec import EncoderNames, EncoderSpec
from llmasos_builder.architectures.encoder.task import EncoderTask


def bert_spec(config: Config, task: EncoderTask) -> EncoderSpec:
    """Defaults are transformers' (BertConfig), except for sizes, which must be given."""
    return _spec(config, prefix="bert.", head=_bert_head(config, task))


def roberta_spec(config: Config, task: EncoderTask) -> EncoderSpec:
    """RobertaConfig and XLMRobertaConfig. Positions begin behind the padding token's id."""
    return _spec(
        config,
        prefix="roberta.",
        head=_roberta_head(config, task),
        position_offset=config.size("pad_token_id", 1, at_least=0) + 1,
    )


def _spec(config: Config, *, prefix: str, head: Head, position_offset: int = 0) -> EncoderSpec:
    config.must_be("position_embedding_type", "absolute")
    config.must_be("is_decoder", False)
    config.must_be("add_cross_attention", False)
    config.must_be("embedding_size", None)
    positions = config.size("max_position_embeddings") - position_offset
    if positions < 2:
        raise config.wrong("max_position_embeddings", f"must be at least {position_offset + 2}")
    return EncoderSpec(
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        intermediate_size=config.size("intermediate_size"),
        num_layers=config.size("num_hidden_layers", at_most=MAX_LAYERS),
        num_heads=config.size("num_attention_heads", at_most=MAX_HEADS),
        max_position_embeddings=positions,
        usual_length=positions,
        position_offset=position_offset,
        num_token_types=config.size("type_vocab_size", 2),
        norm_eps=config.number("layer_norm_eps", 1e-12),
        activation=config.activation("hidden_act", "gelu"),
        names=_names(prefix),
        head=head,
    )


def _names(prefix: str) -> EncoderNames:
    inside = re.escape(prefix)
    return EncoderNames(
        tokens=f"{prefix}embeddings.word_embeddings",
        positions=f"{prefix}embeddings.position_embeddings",
        token_types=f"{prefix}embeddings.token_type_embeddings",
        embedding_norm=f"{prefix}embeddings.LayerNorm",
        layer=prefix + "encoder.layer.{}.",
        attention_inputs=tuple(f"attention.self.{name}" for name in ("query", "key", "value")),
        attention_output="attention.output.dense",
        attention_norm="attention.output.LayerNorm",
        mlp_inputs="intermediate.dense",
        mlp_output="output.dense",
        mlp_norm="output.LayerNorm",
        ignored=re.compile(
            rf"{inside}embeddings\.(position_ids|token_type_ids)|{inside}pooler\.dense\..*|"
            r"cls\.seq_relationship\..*|lm_head\..*|cls\.predictions\..*"
        ),
    )


def _bert_head(config: Config, task: EncoderTask) -> Head:
    width = config.size("hidden_size")
    match task.kind:
        case "embed":
            return embedding_head(config)
        case "classify":
            pooler = HeadLinear(
                name="bert.pooler.dense",
                size=width,
                bias="bert.pooler.dense.bias",
                activation="tanh",
            )
            labels = task.label_layer("classifier")
            return Head(task="classify", pooling=("first",), layers=(pooler, labels))
        case "classify_tokens":
            return Head(task="classify_tokens", layers=(task.label_layer("classifier"),))
        case "fill_mask":
            at = "cls.predictions"
            return fill_mask_head(
                config,
                dense=f"{at}.transform.dense",
                activation=config.activation("hidden_act", "gelu"),
                norm=f"{at}.transform.LayerNorm",
                norm_eps=config.number("layer_norm_eps", 1e-12),
                decoder=f"{at}.decoder",
                bias=f"{at}.bias",
                tokens="bert.embeddings.word_embeddings",
            )


def _roberta_head(config: Config, task: EncoderTask) -> Head:
    width = config.size("hidden_size")
    match task.kind:
        case "embed":
            return embedding_head(config)
        case "classify":
            return first_token_classifier(task, width)
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
                tokens="roberta.embeddings.word_embeddings",
            )


def first_token_classifier(task: EncoderTask, width: int) -> Head:
    """RoBERTa's and MPNet's head: two linear layers on the first token."""
    dense = HeadLinear(
        name="classifier.dense", size=width, bias="classifier.dense.bias", activation="tanh"
    )
    labels = task.label_layer("classifier.out_proj")
    return Head(task="classify", pooling=("first",), layers=(dense, labels))


def fill_mask_head(
    config: Config,
    *,
    dense: str,
    activation: str,
    norm: str,
    norm_eps: float,
    decoder: str,
    bias: str,
    tokens: str,
) -> Head:
    """Returns the head of a masked language model.

    decoder: name of the last matrix, with a bias of its own unless tie_word_embeddings makes it the
    token embedding; then bias names the bias, and tokens is the embedding's name.
    """
    width = config.size("hidden_size")
    is_tied = config.flag("tie_word_embeddings", True)
    act = config.replaced(given=activation).activation("given", activation)
    transform = HeadLinear(name=dense, size=width, bias=f"{dense}.bias", activation=act)
    last = HeadLinear(
        name=None if is_tied else decoder,
        size=config.size("vocab_size"),
        bias=bias if is_tied else f"{decoder}.bias",
    )
    copies = ((f"{decoder}.bias", bias), (f"{decoder}.weight", f"{tokens}.weight"))
    return Head(
        task="fill_mask",
        selects=True,
        layers=(transform, HeadNorm(name=norm, eps=norm_eps), last),
        copies=copies if is_tied else (),
    )
