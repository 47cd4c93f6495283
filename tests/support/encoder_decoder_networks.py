"""Small random encoder-decoders of every family, as transformers saves them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import needs_torch  # noqa: F401
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

VOCABULARY = 60
LAYERS = 2
_BART: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": LAYERS,
    "decoder_layers": LAYERS,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 80,
}
_T5: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 12,
    "d_ff": 48,
    "num_layers": LAYERS,
    "num_heads": 4,
    "relative_attention_num_buckets": 12,
    "relative_attention_max_distance": 30,
    "decoder_start_token_id": 0,
}
FAMILIES: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "bart": (
        "BartConfig",
        "BartForConditionalGeneration",
        {**_BART, "forced_bos_token_id": 0, "forced_eos_token_id": 2},
    ),
    "flan-t5": (
        "T5Config",
        "T5ForConditionalGeneration",
        {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "m2m_100": (
        "M2M100Config",
        "M2M100ForConditionalGeneration",
        {**_BART, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0},
    ),
    "marian": (
        "MarianConfig",
        "MarianMTModel",
        {
            **_BART,
            "activation_function": "swish",
            "scale_embedding": True,
            "pad_token_id": 59,
            "decoder_start_token_id": 59,
            "eos_token_id": 2,
            "forced_eos_token_id": 2,
            "bad_words_ids": [[59]],
        },
    ),
    "mbart": (
        "MBartConfig",
        "MBartForConditionalGeneration",
        {**_BART, "scale_embedding": True, "decoder_start_token_id": 2},
    ),
    "mt5": ("MT5Config", "MT5ForConditionalGeneration", _T5),
    "pegasus": (
        "PegasusConfig",
        "PegasusForConditionalGeneration",
        {**_BART, "scale_embedding": True, "activation_function": "relu", "eos_token_id": 2},
    ),
    "t5": ("T5Config", "T5ForConditionalGeneration", {**_T5, "num_decoder_layers": LAYERS}),
}
"""By a short name: the class of the configuration, that of the network, and its fields."""


def write_encoder_decoder(
    directory: Path, family: str, *, seed: int = 0, languages: tuple[str, ...] = (), **changes: Any
) -> Any:
    """Saves a random network and a tokenizer of words; returns transformers' network in float32.

    Its answers depend on the text, and some end before they must.
    """
    torch.manual_seed(seed)
    config_class, network_class, fields = FAMILIES[family]
    config = getattr(transformers, config_class)(**{**fields, **changes})
    network = getattr(transformers, network_class)(config).eval().float()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "embed_positions" in name and family in ("marian", "pegasus"):
                continue  # computed
            if parameter.ndim == 1:
                parameter.copy_(0.2 * torch.randn(parameter.shape) + name.endswith("weight"))
            else:
                is_table = any(n in name for n in ("shared", "embed", "lm_head", "relative"))
                parameter.copy_((1.0 if is_table else 0.6) * torch.randn(parameter.shape))
        if hasattr(network, "final_logits_bias"):
            network.final_logits_bias.copy_(torch.randn(network.final_logits_bias.shape))
    network.save_pretrained(directory)
    write_words(directory, end=str(config.eos_token_id), languages=languages)
    return network


def write_words(directory: Path, *, end: str, languages: tuple[str, ...] = ()) -> None:
    """Token i is the word wi; a text ends with the end token. languages: tokens in the last
    places.
    """
    vocab = {f"w{i}": i for i in range(VOCABULARY - len(languages))}
    vocab |= {name: len(vocab) + i for i, name in enumerate(languages)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="w3"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = [f"w{end}", *languages]
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A w{end}", special_tokens=[(f"w{end}", int(end))]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": f"w{end}"}
    (directory / "tokenizer_config.json").write_text(json.dumps({**config, "unk_token": "w3"}))


def words(token_ids: list[int]) -> str:
    """The text of these tokens."""
    return " ".join(f"w{i}" for i in token_ids)
