"""Small random encoders of every family, as transformers saves them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import needs_torch  # noqa: F401
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = ("the", "rain", "in", "spain", "stays", "mainly", "on", "plain", "a", "fox", "jumps")
VOCABULARY = 64
SIZES: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 96,
}
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "Bert": {**SIZES, "hidden_act": "gelu", "type_vocab_size": 2},
    "DistilBert": {
        "vocab_size": VOCABULARY,
        "dim": 64,
        "n_layers": 3,
        "n_heads": 4,
        "hidden_dim": 128,
        "max_position_embeddings": 96,
    },
    "MPNet": SIZES,
    "ModernBert": {
        **SIZES,
        "num_hidden_layers": 4,
        "local_attention": 8,
        "global_attn_every_n_layers": 3,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "cls_token_id": 1,
        "sep_token_id": 2,
    },
    "Roberta": {**SIZES, "type_vocab_size": 1, "pad_token_id": 1},
    "XLMRoberta": {**SIZES, "type_vocab_size": 1, "pad_token_id": 1, "hidden_act": "gelu_new"},
}
SPECIAL = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "[MASK]": 4}


def write_encoder(
    directory: Path, family: str, suffix: str = "Model", *, seed: int = 0, **changes: Any
) -> Any:
    """Saves a random network and its tokenizer; returns transformers' network in float32."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{family}Config")(**{**CONFIGS[family], **changes})
    network = getattr(transformers, f"{family}{suffix}")(config).eval().float()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            scale = 0.1 if parameter.ndim == 1 else 0.25
            parameter.copy_(scale * torch.randn(parameter.shape))
            if parameter.ndim == 1 and name.endswith("weight"):
                parameter.add_(1)
    network.save_pretrained(directory)
    write_word_tokenizer(directory)
    return network


def write_word_tokenizer(directory: Path) -> None:
    """Words, and pieces of words for everything else, with BERT's special tokens."""
    vocab = dict(SPECIAL)
    for word in (*WORDS, *"bcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqr")):
        vocab.setdefault(word, len(vocab))
    assert len(vocab) <= VOCABULARY
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.add_special_tokens([*SPECIAL])
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "pad_token": "[PAD]",
                "cls_token": "[CLS]",
                "sep_token": "[SEP]",
                "unk_token": "[UNK]",
                "mask_token": "[MASK]",
            }
        )
    )


def write_modules(
    directory: Path, *, pooling: str, normalize: bool = True, **settings: Any
) -> None:
    """Writes sentence-transformers' modules beside a network. settings: its prompts and lengths."""
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
    if normalize:
        modules.append(("Normalize", "2_Normalize"))
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(modules)
    ]
    (directory / "modules.json").write_text(json.dumps(listed))
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(
        json.dumps({f"pooling_mode_{pooling}": True})
    )
    (directory / "config_sentence_transformers.json").write_text(json.dumps(settings))
