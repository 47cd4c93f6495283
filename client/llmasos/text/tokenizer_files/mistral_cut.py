"""The pre-tokenization pattern that transformers corrects in some of Mistral's tokenizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import Regex, Tokenizer, pre_tokenizers

_MODEL_TYPES = frozenset(("mistral", "mistral3", "voxtral", "ministral", "pixtral"))
_MIN_TOKENS = 100_001
_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def mend_mistral_cut(
    backend: Tokenizer, config: Mapping[str, Any], model_config: Mapping[str, Any]
) -> None:
    """Applies fix_mistral_regex of tokenizer_config.json where it has an effect.

    It affects large vocabularies of Mistral's models that were saved before version 5.
    """
    current = backend.pre_tokenizer
    if not config.get("fix_mistral_regex") or not model_config or current is None:
        return
    if backend.get_vocab_size() < _MIN_TOKENS or _saved_by_5(model_config):
        return
    if model_config.get("model_type") not in {None, *_MODEL_TYPES}:
        return
    split = pre_tokenizers.Split(pattern=Regex(_PATTERN), behavior="isolated")
    if isinstance(current, pre_tokenizers.Sequence):
        current[0] = split
        return
    if isinstance(current, pre_tokenizers.Metaspace):
        current = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, current])


def _saved_by_5(model_config: Mapping[str, Any]) -> bool:
    major = str(model_config.get("transformers_version") or "0").partition(".")[0]
    return major.isdecimal() and int(major) >= 5
