"""The tokenizer classes of mBART, NLLB and Pegasus: languages and sentinels beside the pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from llmasos.errors import CheckpointError
from llmasos.text.tokenizer_files.language_codes import MBART, MBART_50, NLLB
from llmasos.text.tokenizer_files.recipe import (
    BPE,
    UNIGRAM,
    Ends,
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
_FIRST = ("pad_token", "eos_token", "unk_token")


def _marked(tokenizer: Tokenizer) -> Tokenizer:
    """Marks where words begin; other whitespace than spaces stays."""
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    return tokenizer


def _one_space(charsmap: bytes | None) -> normalizers.Sequence:
    rules = [] if charsmap is None else [normalizers.Precompiled(charsmap)]
    return normalizers.Sequence([*rules, normalizers.Replace(Regex(" {2,}"), " ")])


def _mbart(vocabulary: Vocabulary, _config: Mapping[str, Any]) -> Tokenizer:
    return spaced(Tokenizer(vocabulary.unigram(unk_id=3)), "always")


def _mbart_50(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    texts = {text for text, _ in vocabulary.pieces}
    if texts.isdisjoint(MBART_50):
        pieces = _mbart_50_pieces(vocabulary.pieces, config)
        vocabulary = Vocabulary(pieces=pieces, charsmap=vocabulary.charsmap)
    tokenizer = _marked(Tokenizer(vocabulary.unigram(unk_id=3)))
    tokenizer.normalizer = _one_space(vocabulary.charsmap)
    return tokenizer


def _nllb(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    unknown = unknown_token(vocabulary, config)
    model = vocabulary.bpe(unk_token=unknown, fuse_unk=True, byte_fallback=False)
    tokenizer = _marked(Tokenizer(model))
    if vocabulary.charsmap is not None:
        tokenizer.normalizer = _one_space(vocabulary.charsmap)
    return tokenizer


def _pegasus(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    unknown = (str(config["unk_token"]), 0.0)
    pieces = list(vocabulary.pieces)
    if unknown not in pieces[1:]:
        raise CheckpointError(
            f"the unk_token {unknown[0]!r}, for unknown characters, is not in the vocabulary with "
            "the score 0"
        )
    model = models.Unigram(pieces, unk_id=pieces.index(unknown, 1))
    tokenizer = _marked(Tokenizer(model))
    if vocabulary.charsmap is None:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Replace(Regex(r"\n"), " "), normalizers.Replace(Regex(" {2,}"), " ")]
        )
    else:
        tokenizer.normalizer = _one_space(vocabulary.charsmap)
    return tokenizer


def _fairseq_pieces(
    pieces: ScoredPieces, config: Mapping[str, Any], begin: str, languages: Sequence[str]
) -> ScoredPieces:
    """fairseq's ids: four special tokens in place of three; then languages and a mask."""
    first = [str(config.get(name)) for name in (begin, *_FIRST)]
    last = [*languages, str(config.get("mask_token"))]
    return [*((t, 0.0) for t in first), *pieces[3:], *((t, 0.0) for t in last)]


def _mbart_pieces(pieces: ScoredPieces, config: Mapping[str, Any]) -> ScoredPieces:
    return _fairseq_pieces(pieces, config, "bos_token", MBART)


def _mbart_50_pieces(pieces: ScoredPieces, config: Mapping[str, Any]) -> ScoredPieces:
    return _fairseq_pieces(pieces, config, "cls_token", MBART_50)


def _nllb_pieces(pieces: ScoredPieces, config: Mapping[str, Any]) -> ScoredPieces:
    first = [str(config.get(name)) for name in ("bos_token", *_FIRST)]
    return [*((text, 0.0) for text in first), *(p for p in pieces if p[0] not in first)]


def _offset(config: Mapping[str, Any]) -> int:
    offset = config.get("offset", 103)
    if type(offset) is not int or offset > _MAX_OFFSET:
        raise CheckpointError(
            f"tokenizer_config.json: offset must be a number up to {_MAX_OFFSET}, got {offset!r}"
        )
    return offset


def _pegasus_pieces(pieces: ScoredPieces, config: Mapping[str, Any]) -> ScoredPieces:
    """The ids of Pegasus: its masks and its sentinels before the pieces, which lose their first
    two.

    Without a mask for sentences in tokenizer_config.json, its mask comes before the other.
    """
    masks = [config.get("mask_token"), config.get("mask_token_sent", "<mask_2>")]
    if "mask_token_sent" not in config and masks[0] == "<mask_2>":
        masks = ["<mask_1>", "<mask_2>"]
    first = [str(config.get(name)) for name in _FIRST[:2]]
    first += dict.fromkeys(str(mask) for mask in masks if mask not in (None, "None"))
    sentinels = [(f"<unk_{index}>", -100.0) for index in range(2, _offset(config))]
    return [*((token, 0.0) for token in first), *sentinels, *pieces[2:]]


def _with_codes(codes: Sequence[str]) -> Any:
    def extra(added: tuple[AddedToken, ...] | None, _config: Mapping[str, Any]) -> list[Token]:
        there = {token.content for token in added or ()}
        return [*(added or ()), *(code for code in codes if code not in there)]

    return extra


def _mbart_extra(added: tuple[AddedToken, ...] | None, _config: Mapping[str, Any]) -> list[Token]:
    codes = MBART
    return [*codes, *(token for token in added or () if token.content not in codes)]


def _nllb_extra(added: tuple[AddedToken, ...] | None, _config: Mapping[str, Any]) -> list[Token]:
    """As transformers does, a SentencePiece model's tokens take the place of the languages."""
    return [*NLLB] if added is None else [*added]


def _pegasus_extra(added: tuple[AddedToken, ...] | None, config: Mapping[str, Any]) -> list[Token]:
    mask = config.get("mask_token_sent", "<mask_1>")
    there = {token.content for token in added or ()}
    first = [] if mask is None or mask in there else [str(mask)]
    return [*first, *(f"<unk_{index}>" for index in range(2, _offset(config)))]


def _in_language(default: str, *, is_last: bool | None = None) -> Ends:
    """The source language's token before each text, or after the end token.

    default: the language if tokenizer_config.json names none. is_last: None if legacy_behaviour
    decides.
    """

    def ends(tokenizer: Tokenizer, config: Mapping[str, Any]) -> processors.PostProcessor:
        language = config.get("src_lang") or default
        eos = config.get("eos_token")
        if not isinstance(eos, str) or not eos or tokenizer.token_to_id(eos) is None:
            raise CheckpointError(f"the eos_token {eos!r} is not in the vocabulary")
        if not isinstance(language, str) or tokenizer.token_to_id(language) is None:
            language = needed(config, "unk_token")
        legacy = flag_of(config, "legacy_behaviour", default=False, absent=False)
        if legacy if is_last is None else is_last:
            return template(tokenizer, None, eos, language)
        return template(tokenizer, language, None, eos)

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
_LSTRIP = {"mask_token": {"lstrip": True}}
_FILE = "sentencepiece.bpe.model"
TRANSLATOR_RECIPES: Mapping[str, Recipe] = {
    "MBartTokenizer": Recipe(
        make=_mbart,
        tokens=_TOKENS,
        model=UNIGRAM,
        vocab_file=_FILE,
        arrange=_mbart_pieces,
        extra=_mbart_extra,
        flags=_LSTRIP,
        ends=_in_language("en_XX", is_last=True),
    ),
    "MBart50Tokenizer": Recipe(
        make=_mbart_50,
        tokens={name: token for name, token in _TOKENS.items() if name != "bos_token"},
        model=UNIGRAM,
        vocab_file=_FILE,
        arrange=_mbart_50_pieces,
        extra=_with_codes(MBART_50),
        flags=_LSTRIP,
        ends=_in_language("en_XX", is_last=False),
    ),
    "NllbTokenizer": Recipe(
        make=_nllb,
        tokens=_TOKENS,
        model=BPE,
        vocab_file=_FILE,
        arrange=_nllb_pieces,
        extra=_nllb_extra,
        fills=True,
        flags={"mask_token": {"lstrip": True, "normalized": True, "special": True}},
        ends=_in_language("eng_Latn"),
    ),
    "PegasusTokenizer": Recipe(
        make=_pegasus,
        tokens={
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "mask_token": "<mask_2>",
        },
        model=UNIGRAM,
        vocab_file="spiece.model",
        arrange=_pegasus_pieces,
        extra=_pegasus_extra,
        ends=_pegasus_ends,
    ),
}
