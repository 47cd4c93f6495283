"""The tokenizer classes of translation and summarization models: mBART's, NLLB's, PEGASUS's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
    processors,
)

from llmasos.errors import CheckpointError
from llmasos.text.tokenizer_files.language_codes import MBART, MBART_50
from llmasos.text.tokenizer_files.recipe import (
    UNIGRAM,
    Recipe,
    ScoredPieces,
    Vocabulary,
    flag_of,
    unknown_token,
)
from llmasos.text.tokenizer_files.templates_of_class import needed, spaced, template
from llmasos.text.tokenizer_files.token_entries import Token

_SPACE = "▁"
_MAX_OFFSET = 1 << 12
_UNUSED_SCORE = -100.0


def _metaspace(tokenizer: Tokenizer) -> Tokenizer:
    """Ends a word at every space, and marks where words begin."""
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement=_SPACE, prepend_scheme="always", split=True
    )
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always", split=True)
    return tokenizer


def _single_spaces(vocabulary: Vocabulary) -> normalizers.Sequence:
    rules: list[normalizers.Normalizer] = [normalizers.Replace(Regex(" {2,}"), " ")]
    if vocabulary.charsmap is not None:
        rules.insert(0, normalizers.Precompiled(vocabulary.charsmap))
    return normalizers.Sequence(rules)


def _mbart(vocabulary: Vocabulary, _config: Mapping[str, Any]) -> Tokenizer:
    return spaced(Tokenizer(vocabulary.unigram(unk_id=3)), "always")


def _mbart_50(vocabulary: Vocabulary, _config: Mapping[str, Any]) -> Tokenizer:
    tokenizer = Tokenizer(vocabulary.unigram(unk_id=3))
    tokenizer.normalizer = _single_spaces(vocabulary)
    return _metaspace(tokenizer)


def _nllb(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    unknown = unknown_token(vocabulary, config)
    tokenizer = Tokenizer(vocabulary.bpe(unk_token=unknown, fuse_unk=True, byte_fallback=False))
    if vocabulary.charsmap is not None:
        tokenizer.normalizer = _single_spaces(vocabulary)
    return _metaspace(tokenizer)


def _pegasus(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    places = [i for i, (text, _) in enumerate(vocabulary.pieces) if text == config["unk_token"]]
    if not places:
        raise CheckpointError(
            f"the unk_token {config['unk_token']!r}, for unknown characters, is not in the "
            "vocabulary"
        )
    tokenizer = Tokenizer(vocabulary.unigram(unk_id=places[0]))
    if vocabulary.charsmap is None:
        lines = normalizers.Replace(Regex("\n"), " ")
        tokenizer.normalizer = normalizers.Sequence([lines, _single_spaces(vocabulary)])
    else:
        tokenizer.normalizer = _single_spaces(vocabulary)
    return _metaspace(tokenizer)


def _with_languages(
    begin: str, languages: tuple[str, ...]
) -> Callable[[ScoredPieces, Mapping[str, Any]], ScoredPieces]:
    """fairseq's ids: four special tokens in place of SentencePiece's three, then the languages and
    the mask at the end. begin: the name of the first token.
    """

    def arrange(pieces: ScoredPieces, config: Mapping[str, Any]) -> ScoredPieces:
        first = [(str(config[f"{name}_token"]), 0.0) for name in (begin, "pad", "eos", "unk")]
        codes = [(code, 0.0) for code in languages]
        return [*first, *pieces[3:], *codes, (str(config["mask_token"]), 0.0)]

    return arrange


def _offset(config: Mapping[str, Any]) -> int:
    offset = config.get("offset", 103)
    if type(offset) is not int or not 2 <= offset <= _MAX_OFFSET:
        raise CheckpointError(
            f"tokenizer_config.json: offset must be from 2 to {_MAX_OFFSET}, got {offset!r:.60}"
        )
    return offset


def _unused(config: Mapping[str, Any]) -> list[str]:
    return [f"<unk_{index}>" for index in range(2, _offset(config))]


def _pegasus_pieces(pieces: ScoredPieces, config: Mapping[str, Any]) -> ScoredPieces:
    """Google's ids: tokens of pretraining in place of SentencePiece's first two."""
    first = [str(config[f"{name}_token"]) for name in ("pad", "eos")]
    masks = dict.fromkeys(("<mask_1>", str(config["mask_token"])))
    named = [(text, 0.0) for text in (*first, *masks)]
    return [*named, *((text, _UNUSED_SCORE) for text in _unused(config)), *pieces[2:]]


def _pegasus_extra(_: object, config: Mapping[str, Any]) -> list[Token]:
    return ["<mask_1>", *_unused(config)]


def _languages(codes: tuple[str, ...]) -> Callable[[object, Mapping[str, Any]], list[Token]]:
    def extra(_: object, _config: Mapping[str, Any]) -> list[Token]:
        return [AddedToken(code, special=True) for code in codes]

    return extra


def _in_language(default: str, *, is_last: bool) -> Any:
    """Ends with the source language: behind the end token, or before the text."""

    def ends(tokenizer: Tokenizer, config: Mapping[str, Any]) -> processors.PostProcessor:
        language = config.get("src_lang") or default
        end = needed(config, "eos_token")
        if is_last or flag_of(config, "legacy_behaviour", default=False, absent=False):
            return template(tokenizer, None, end, language)
        return template(tokenizer, language, None, end)

    return ends


def _pegasus_ends(tokenizer: Tokenizer, config: Mapping[str, Any]) -> processors.PostProcessor:
    return template(tokenizer, None, needed(config, "eos_token"))


_TOKENS: Mapping[str, str | None] = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "cls_token": "<s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}
_MASK_FLAGS: Mapping[str, Mapping[str, bool]] = {"mask_token": {"lstrip": True}}
_SENTENCEPIECE = "sentencepiece.bpe.model"
TRANSLATOR_RECIPES: Mapping[str, Recipe] = {
    "MBart50Tokenizer": Recipe(
        make=_mbart_50,
        tokens={name: text for name, text in _TOKENS.items() if name != "bos_token"},
        model=UNIGRAM,
        vocab_file=_SENTENCEPIECE,
        arrange=_with_languages("cls", MBART_50),
        extra=_languages(MBART_50),
        flags=_MASK_FLAGS,
        ends=_in_language("en_XX", is_last=False),
    ),
    "MBartTokenizer": Recipe(
        make=_mbart,
        tokens=_TOKENS,
        model=UNIGRAM,
        vocab_file=_SENTENCEPIECE,
        arrange=_with_languages("bos", MBART),
        extra=_languages(MBART),
        flags=_MASK_FLAGS,
        ends=_in_language("en_XX", is_last=True),
    ),
    "NllbTokenizer": Recipe(
        make=_nllb,
        tokens=_TOKENS,
        flags={"mask_token": {"lstrip": True, "normalized": True}},
        ends=_in_language("eng_Latn", is_last=False),
    ),
    "PegasusTokenizer": Recipe(
        make=_pegasus,
        tokens={
            "pad_token": "<pad>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "mask_token": "<mask_2>",
        },
        model=UNIGRAM,
        vocab_file="spiece.model",
        arrange=_pegasus_pieces,
        extra=_pegasus_extra,
        ends=_pegasus_ends,
    ),
}
