"""Rebuilds the tokenizer of a GGUF file as Hugging Face's tokenizer files.

Two of GGUF's tokenizers are supported. `gpt2` is byte-level BPE; its pre-tokenizer is only named
there (`tokenizer.ggml.pre`), so only known names are accepted. `llama` is SentencePiece's BPE:
pieces with scores, and byte tokens for the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmasos.text.tokenizer_files import TokenizerSources, resolve
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
    processors,
)

from llmasos_builder.checkpoint.gguf.file import GGUFFile
from llmasos_builder.checkpoint.gguf.vocabulary import Vocabulary
from llmasos_builder.checkpoint.merges import make_bpe

_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_GPT2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"


def _words(digits: str) -> str:
    """The pattern of Llama 3 and Qwen 2, which differ in the number of digits of a word."""
    return (
        rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


def _cased_words(digits: str, *, contractions: str = "") -> str:
    """The pattern of Tekken and GPT-4o: a capital inside a word begins another."""
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    before = r"[^\r\n\p{L}\p{N}]?"
    return (
        rf"{before}{upper}*{lower}+{contractions}|{before}{upper}+{lower}*{contractions}|{digits}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """A pre-tokenizer: how a byte-level tokenizer splits text into words before merging.

    patterns: applied one after the other, each to the pieces of the one before; none: GPT-2's own.
    byte_patterns: applied next, to words whose bytes are written as letters, so that they may split
    bytes, as Falcon's do at Hugging Face. whole_words: a word that is a token is not merged from
    its parts.
    """

    patterns: tuple[str, ...] = ()
    byte_patterns: tuple[str, ...] = ()
    whole_words: bool = False
    composes: bool = False
    adds_bos: bool = False

    def pre_tokenizer(self) -> pre_tokenizers.PreTokenizer:
        first, then = (
            [pre_tokenizers.Split(Regex(p), "isolated") for p in patterns]
            for patterns in (self.patterns, self.byte_patterns)
        )
        letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not first)
        return pre_tokenizers.Sequence([*first, letters, *then]) if first else letters


_GPT2 = _Cut()
_DIGITS_ALONE = _Cut(patterns=(r"\p{N}", _GPT2_WORDS + r"|\s+"))
_LLAMA3 = _Cut(patterns=(_words(r"\p{N}{1,3}"),), whole_words=True, adds_bos=True)
_GPT4 = _Cut(patterns=(_words(r"\p{N}{1,3}"),))  # by the names of those that took it over
_GPT4O = _Cut(patterns=(_cased_words(r"\p{N}{1,3}", contractions=f"{_CONTRACTIONS}?"),))
_TEKKEN = _Cut(patterns=(_cased_words(r"\p{N}"),), whole_words=True, adds_bos=True)
_QWEN2 = _Cut(patterns=(_words(r"\p{N}"),), composes=True)
_DEFAULT = _Cut(patterns=(r"[\p{P}\$\+<=>\^~\|]+", _GPT2_WORDS, r"\p{N}+", r"[0-9][0-9][0-9]"))
_FALCON = _Cut(
    patterns=(r"[\p{P}\$\+<=>\^~\|`]+", _GPT2_WORDS + r"|\s+"),
    byte_patterns=(r"\p{N}+", r"[0-9][0-9][0-9]"),
)
_BLOOM = _Cut(patterns=(r" ?[^(\s|.,!?…。，、।۔،)]+",))  # noqa: RUF001
_NEOX = _Cut(composes=True)  # of GPT-NeoX, by the names of those that took it over
CUTS: Mapping[str, _Cut] = {
    "bloom": _BLOOM,
    "codeshell": _DIGITS_ALONE,
    "dbrx": _GPT4,
    "deepseek-r1-qwen": _QWEN2,
    "default": _DEFAULT,
    "falcon": _FALCON,
    "falcon3": _LLAMA3,
    "gpt-2": _GPT2,
    "gpt-4o": _GPT4O,
    "llama-bpe": _LLAMA3,
    "llama-v3": _LLAMA3,
    "llama3": _LLAMA3,
    "mpt": _NEOX,
    "olmo": _NEOX,
    "qwen2": _QWEN2,
    "refact": _DIGITS_ALONE,
    "smaug-bpe": _GPT4,
    "smollm": _DIGITS_ALONE,
    "starcoder": _DIGITS_ALONE,
    "tekken": _TEKKEN,
}


def make_tokenizer_files(file: GGUFFile) -> dict[str, bytes]:
    """Returns tokenizer.json, tokenizer_config.json and generation_config.json.

    Raises CheckpointError for a tokenizer that is missing or not supported.
    """
    vocabulary = Vocabulary(file)
    make = _MAKERS.get(vocabulary.text("model"))
    if make is None:
        raise vocabulary.refusal(
            "model", f"is {vocabulary.text('model')!r}; supported are {', '.join(sorted(_MAKERS))}"
        )
    tokenizer, adds_bos = make(vocabulary)
    tokenizer.add_special_tokens(vocabulary.added(_CONTROL, _UNKNOWN, special=True))
    tokenizer.add_tokens(vocabulary.added(_USER_DEFINED, special=False))
    _add_ends(
        tokenizer,
        bos=vocabulary.token("bos") if vocabulary.flag("add_bos_token", default=adds_bos) else None,
        eos=vocabulary.token("eos") if vocabulary.flag("add_eos_token", default=False) else None,
    )
    sources = TokenizerSources(
        name=str(file.path),
        contents={
            "tokenizer.json": tokenizer.to_str().encode(),
            "tokenizer_config.json": json.dumps(vocabulary.config()).encode(),
        },
    )
    return {
        **resolve(sources).files(),
        "generation_config.json": json.dumps(vocabulary.generation_config(), indent=2).encode(),
    }


def _byte_level(vocabulary: Vocabulary) -> tuple[Tokenizer, bool]:
    name = vocabulary.text("pre", "default")
    cut = CUTS.get(name)
    if cut is None:
        raise vocabulary.refusal("pre", f"is {name!r}; supported are {', '.join(sorted(CUTS))}")
    merges = vocabulary.array("merges", str)
    tokenizer = _bpe(vocabulary, merges, ignore_merges=cut.whole_words)
    if cut.composes:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = cut.pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer, cut.adds_bos


def _sentencepiece(vocabulary: Vocabulary) -> tuple[Tokenizer, bool]:
    tokenizer = _bpe(
        vocabulary,
        _merges_by_score(vocabulary),
        unk_token=vocabulary.token("unknown") or "<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    spaces = [normalizers.Replace(" ", _SPACE)]
    back = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if vocabulary.flag("add_space_prefix", default=True):
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), *spaces])
        tokenizer.decoder = decoders.Sequence([*back, decoders.Strip(" ", 1, 0)])
    else:
        tokenizer.normalizer = normalizers.Sequence(spaces)
        tokenizer.decoder = decoders.Sequence(back)
    return tokenizer, True


def _merges_by_score(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Derives merges: SentencePiece joins the two neighbours whose union has the best score. As
    merges, that is every way to split a piece in two, best unions first.
    """
    tokens, scores = vocabulary.tokens, vocabulary.array("scores", float)
    if len(scores) != len(tokens):
        raise vocabulary.refusal("scores", f"has {len(scores)} entries for {len(tokens)} tokens")
    ids = vocabulary.ids()
    merges = [
        (score, token[:cut], token[cut:])
        for token, score in zip(tokens, scores, strict=True)
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]
    merges.sort(key=lambda m: (-m[0], -len(m[1]), -len(m[2]), ids[m[1]], ids[m[2]]))
    return [(left, right) for _, left, right in merges]


def _bpe(vocabulary: Vocabulary, merges: Iterable[Any], **options: Any) -> Tokenizer:
    try:
        return Tokenizer(make_bpe(vocabulary.ids(), merges, **options))
    except ValueError as error:
        raise vocabulary.refusal("merges", f"and tokens do not fit together: {error}") from error


def _add_ends(tokenizer: Tokenizer, *, bos: str | None, eos: str | None) -> None:
    """Replaces the tokens that encoding puts before and after a text."""
    ids = {t: i for t in (bos, eos) if t and (i := tokenizer.token_to_id(t)) is not None}
    if ids:
        parts = [bos if bos in ids else "", "$A", eos if eos in ids else ""]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join(part for part in parts if part), special_tokens=list(ids.items())
        )


_MAKERS: Mapping[str, Callable[[Vocabulary], tuple[Tokenizer, bool]]] = {
    "gpt2": _byte_level,
    "llama": _sentencepiece,
}
