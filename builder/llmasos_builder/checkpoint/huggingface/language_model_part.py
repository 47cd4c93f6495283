"""Extracts the language model of a multimodal checkpoint as a checkpoint of its own.

Such a config.json contains that of a language model, and the weights of the language model lie
beside those for images, under names of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmasos.errors import CheckpointError

_CONFIG = "text_config"
# What counts beside it, before what it says itself.
_WHOLE = ("bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings")
# transformers 4 and 5 name the parts in another order; the head may be of either.
_PREFIXES = {
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
    "model.language_model.": "model.",
    "lm_head.": "lm_head.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _LanguageModelPart:
    """The language model of an architecture. defaults: sizes that its config may leave out."""

    architecture: str
    model_type: str
    defaults: Mapping[str, Any]


LANGUAGE_MODEL_PARTS: Mapping[str, _LanguageModelPart] = {
    "Gemma3ForConditionalGeneration": _LanguageModelPart(
        architecture="Gemma3ForCausalLM",
        model_type="gemma3_text",
        defaults={
            "vocab_size": 262208,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "max_position_embeddings": 131072,
        },
    ),
    "Mistral3ForConditionalGeneration": _LanguageModelPart(
        architecture="MistralForCausalLM", model_type="mistral", defaults={}
    ),
}


def has_language_model_part(config: Mapping[str, Any]) -> bool:
    """True if a config.json describes a multimodal network."""
    return _name(config) in LANGUAGE_MODEL_PARTS


def text_config(config: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Returns the config.json of the language model alone; path: of the whole one, for messages.

    Raises CheckpointError if it has none.
    """
    part, inner = LANGUAGE_MODEL_PARTS[_name(config)], config.get(_CONFIG)
    if not isinstance(inner, dict):
        raise CheckpointError(f"{path}: {_CONFIG} must be an object, got {type(inner).__name__}")
    whole = {name: config[name] for name in _WHOLE if config.get(name) is not None}
    absent = {name for name in part.defaults if inner.get(name) is None}
    return {
        "model_type": part.model_type,
        **inner,
        **whole,
        **{name: part.defaults[name] for name in absent},
        "architectures": [part.architecture],
    }


def text_names(names: frozenset[str]) -> dict[str, str]:
    """Returns the stored name of each tensor of the language model, by its name in that network."""
    return {
        new + name.removeprefix(old): name
        for name in names
        for old, new in _PREFIXES.items()
        if name.startswith(old)
    }


def _name(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""
