"""The recipes of all tokenizer classes that ignore most of tokenizer.json; here, decoders'."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
    processors,
)

from llmasos.text.tokenizer_files.numbered_pieces import NUMBERED_RECIPES
from llmasos.text.tokenizer_files.rebuilt_encoders import ENCODER_RECIPES
from llmasos.text.tokenizer_files.recipe import (
    Recipe,
    Vocabulary,
    flag_of,
    special_of_model,
    unknown_token,
)
from llmasos.text.tokenizer_files.sources import SENTENCEPIECE_FILE, VOCAB_FILE
from llmasos.text.tokenizer_files.translators import TRANSLATOR_RECIPES

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
        fuse_unk=True, byte_fallback=True, unk_token=unknown_token(vocabulary, config)
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


def _gemma(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    model = vocabulary.bpe(
        fuse_unk=True, unk_token=unknown_token(vocabulary, config), byte_fallback=True
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
    return flag_of(config, "add_prefix_space", default=bool(absent), absent=absent)


_ONE_END = {"bos_token": _END, "eos_token": _END, "unk_token": _END}
_QWEN_ENDS = {"eos_token": _END, "unk_token": _END, "pad_token": _END}
RECIPES: Mapping[str, Recipe] = {
    **ENCODER_RECIPES,
    **NUMBERED_RECIPES,
    **TRANSLATOR_RECIPES,
    "CodeGenTokenizer": Recipe(
        make=_codegen, tokens={**_ONE_END, "pad_token": None}, vocab_file=VOCAB_FILE
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
    "GPT2Tokenizer": Recipe(
        make=_gpt2, tokens={**_ONE_END, "pad_token": None}, vocab_file=VOCAB_FILE
    ),
    "GPTNeoXTokenizer": Recipe(
        make=_gpt_neox,
        tokens={**_ONE_END, "pad_token": "<|padding|>"},
        vocab_file=VOCAB_FILE,
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
        make=_llama,
        tokens={"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        vocab_file=SENTENCEPIECE_FILE,
        extra=special_of_model,
    ),
    "Qwen2Tokenizer": Recipe(
        make=_qwen(_QWEN2), tokens=_QWEN_ENDS, vocab_file=VOCAB_FILE, readds=True
    ),
    "Qwen3_5Tokenizer": Recipe(make=_qwen(_QWEN3_5), tokens=_QWEN_ENDS),
}
