"""Rebuilds the tokenizers whose transformers class ignores most of tokenizer.json.

Such a class takes a vocabulary and merges, and sets up its own normalizer, pre-tokenizer and
decoder. Only the post-processor of the file stays, if there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from llmasos.errors import CheckpointError

FILL_TOKEN = "fill_token"
"""The place where CodeLlama's tokenizer puts the text before and after a gap."""
_END = "<|endoftext|>"
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN3_5 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Token ids by token, and pairs in the order in which they are merged."""

    vocab: Mapping[str, int]
    merges: list[tuple[str, str]]

    def bpe(self, **options: Any) -> models.BPE:
        return models.BPE(vocab=dict(self.vocab), merges=self.merges, **options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The recipe of one tokenizer class.

    make: makes the tokenizer without added tokens. tokens: its named tokens where no file says
    otherwise. specific: named tokens that other classes do not have. begins: True if its begin
    token goes before each text. reads_vocab: True if it reads vocab.json and merges.txt.
    readds: True if its special tokens are added once more, as plain ones. forgets: True if the
    post-processor of tokenizer.json is dropped.
    """

    make: Callable[[Vocabulary, Mapping[str, Any]], Tokenizer]
    tokens: Mapping[str, str | None]
    specific: Mapping[str, str] = field(default_factory=dict[str, str])
    begins: bool = False
    reads_vocab: bool = False
    readds: bool = False
    forgets: bool = False


def _byte_level(vocabulary: Vocabulary, prefix: bool) -> Tokenizer:
    model = vocabulary.bpe(continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _gpt2(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    return _byte_level(vocabulary, _prefix(config))


def _codegen(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    tokenizer = _byte_level(vocabulary, _prefix(config))
    tokenizer.post_processor = processors.ByteLevel(
        add_prefix_space=True, use_regex=True, trim_offsets=False
    )
    return tokenizer


def _gpt_neox(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    tokenizer = _byte_level(vocabulary, _prefix(config))
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def _qwen(pattern: str) -> Callable[[Vocabulary, Mapping[str, Any]], Tokenizer]:
    def make(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
        tokenizer = _byte_level(vocabulary, False)
        tokenizer.normalizer = normalizers.NFC()
        prefix = _prefix(config, absent=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False),
                pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False),
            ]
        )
        return tokenizer

    return make


def _llama(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    tokenizer = Tokenizer(vocabulary.bpe(fuse_unk=True, byte_fallback=True))
    prefix = _prefix(config, absent=True)
    first = "always" if config.get("legacy", False) else "first"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement="▁", prepend_scheme=first if prefix else "never", split=False
    )
    replaced, joined = decoders.Replace("▁", " "), (decoders.ByteFallback(), decoders.Fuse())
    steps: list[decoders.Decoder] = [replaced, *joined]
    if prefix:
        steps.append(decoders.Strip(content=" ", left=1))
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def _code_llama(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    model = vocabulary.bpe(
        fuse_unk=True, byte_fallback=True, unk_token=_unknown(vocabulary, config)
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement="▁",
        prepend_scheme="first" if _prefix(config, absent=True) else "never",
        split=False,
    )
    strip = decoders.Strip(content=" ", left=1)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip]
    )
    return tokenizer


def _unknown(vocabulary: Vocabulary, config: Mapping[str, Any]) -> str:
    unknown = config["unk_token"]
    if unknown not in vocabulary.vocab:
        raise CheckpointError(
            f"the unk_token {unknown!r}, for unknown characters, is not in the vocabulary"
        )
    return str(unknown)


def _gemma(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    model = vocabulary.bpe(
        fuse_unk=True, unk_token=_unknown(vocabulary, config), byte_fallback=True
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        pattern=" ", behavior="merged_with_previous", invert=False
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


def _prefix(config: Mapping[str, Any], *, absent: bool | None = None) -> bool:
    """The value of add_prefix_space. absent: the meaning of null; None refuses null."""
    value = config.get("add_prefix_space", False if absent is None else absent)
    if value is None and absent is not None:
        return absent
    if not isinstance(value, bool):
        raise CheckpointError(
            f"tokenizer_config.json: add_prefix_space must be true or false, got {value!r}"
        )
    return value


_ONE_END = {"bos_token": _END, "eos_token": _END, "unk_token": _END}
_QWEN_ENDS = {"eos_token": _END, "unk_token": _END, "pad_token": _END}
RECIPES: Mapping[str, Recipe] = {
    "CodeGenTokenizer": Recipe(
        make=_codegen, tokens={**_ONE_END, "pad_token": None}, reads_vocab=True
    ),
    "CodeLlamaTokenizer": Recipe(
        make=_code_llama,
        tokens={"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        specific={
            "prefix_token": "▁<PRE>",
            "middle_token": "▁<MID>",
            "suffix_token": "▁<SUF>",
            "eot_token": "▁<EOT>",
            FILL_TOKEN: "<FILL_ME>",
        },
        begins=True,
    ),
    "GPT2Tokenizer": Recipe(make=_gpt2, tokens={**_ONE_END, "pad_token": None}, reads_vocab=True),
    "GPTNeoXTokenizer": Recipe(
        make=_gpt_neox,
        tokens={**_ONE_END, "pad_token": "<|padding|>"},
        reads_vocab=True,
        forgets=True,
    ),
    "GemmaTokenizer": Recipe(
        make=_gemma,
        tokens={
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "mask_token": "<mask>",
        },
    ),
    "LlamaTokenizer": Recipe(
        make=_llama, tokens={"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    ),
    "Qwen2Tokenizer": Recipe(make=_qwen(_QWEN2), tokens=_QWEN_ENDS, reads_vocab=True, readds=True),
    "Qwen3_5Tokenizer": Recipe(make=_qwen(_QWEN3_5), tokens=_QWEN_ENDS),
}
