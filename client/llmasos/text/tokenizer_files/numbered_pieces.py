"""Marian's and M2M100's tokenizers: SentencePiece cuts a text, and vocab.json numbers the pieces.

transformers runs SentencePiece and looks each piece up. Here it is a Unigram or BPE model whose ids
are those of vocab.json. A piece that vocab.json lacks has an id from that of UNNUMBERED on, which
`Tokenizer` takes for the unknown token. Characters that no piece has are one unknown token up to
the next known character, as in SentencePiece, unless vocab.json has just these characters, as
tokens of Marian's other language.

What differs: the rules that normalize a text are applied to whole characters with their combining
marks, where SentencePiece applies them to the longest sequence that a rule knows; and with BPE,
several unknown characters are an unknown token even if vocab.json has them as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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
from llmasos.text.tokenizer_files.declared_tokens import NAMED_TOKENS
from llmasos.text.tokenizer_files.language_codes import M2M_100, WMT_21
from llmasos.text.tokenizer_files.numbered_texts import (
    END,
    LANGUAGE,
    behind_language,
    codes,
    languages,
    one_unknown,
    sentencepiece_steps,
)
from llmasos.text.tokenizer_files.recipe import Recipe, Vocabulary
from llmasos.text.tokenizer_files.sentencepiece_model import (
    NORMAL,
    USER_DEFINED,
    SentencePieceModel,
)
from llmasos.text.tokenizer_files.sentencepiece_tokenizer import merges_by_score
from llmasos.text.tokenizer_files.templates_of_class import needed, template
from llmasos.text.tokenizer_files.token_entries import Token
from llmasos.text.tokenizer_files.unnumbered import UNNUMBERED

_SPACE = "▁"
_NEVER = -1e6
"""The score of what is in vocab.json, and not in the model: worse than any way to cut it."""
_WHITE = r"[\s\x1c-\x1f]"


def _marian(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    if config.get("separate_vocabs"):
        raise CheckpointError(
            "tokenizer_config.json: separate_vocabs is not supported: one vocabulary must number "
            "the source and the target"
        )
    names = [code[2:-2] for code in codes(vocabulary.vocab)]
    return _tokenizer(vocabulary, config, before=languages(names), after=behind_language())


def _m2m_100(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    return _tokenizer(vocabulary, config, before=(), after=())


def _tokenizer(
    vocabulary: Vocabulary,
    config: Mapping[str, Any],
    *,
    before: Sequence[normalizers.Normalizer],
    after: Sequence[normalizers.Normalizer],
) -> Tokenizer:
    """before, after: what is done with a text before and after SentencePiece's normalization."""
    model, ids = vocabulary.model, vocabulary.vocab
    assert model is not None
    if model.byte_fallback:
        raise CheckpointError(
            "the SentencePiece model has byte_fallback, which is not supported with vocab.json"
        )
    unknown = str(config["unk_token"])
    used = [piece for piece in model.pieces if piece.kind in (NORMAL, USER_DEFINED)]
    missing = dict.fromkeys(piece.text for piece in used if piece.text not in ids)
    missing = {UNNUMBERED: None, **missing} if missing else missing
    known = {_SPACE, *"".join(piece.text for piece in used)}
    others = [text for text in ids if text and known.isdisjoint(text)]
    network: models.Model
    if model.is_unigram:
        network = _unigram(model, ids, missing, others, unknown)
    else:
        network = _bpe(model, ids, missing, unknown)
        others = [text for text in others if len(text) == 1]
    tokenizer = Tokenizer(network)
    tokenizer.normalizer = normalizers.Sequence(
        [*before, *sentencepiece_steps(model), *after, one_unknown(known, others)]
    )
    whole = [piece.text for piece in used if piece.kind == USER_DEFINED]
    if whole:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(
            Regex("|".join(map(re.escape, sorted(whole, key=len, reverse=True)))), "isolated"
        )
    named = {str(config.get(name)) for name in NAMED_TOKENS}
    tokenizer.decoder = _decoder(model, ids, named, " " if before else "")
    return tokenizer


def _unigram(
    model: SentencePieceModel,
    ids: Mapping[str, int],
    missing: Iterable[str],
    others: Iterable[str],
    unknown: str,
) -> models.Unigram:
    scores = {p.text: p.score for p in model.pieces if p.kind in (NORMAL, USER_DEFINED)}
    scores = {**dict.fromkeys(others, -1.0), **scores}
    texts = {index: text for text, index in ids.items()}
    pieces = [texts.get(index, f"<no token {index}>") for index in range(max(texts) + 1)]
    return models.Unigram(
        [(text, scores.get(text, _NEVER)) for text in (*pieces, *missing)], unk_id=ids[unknown]
    )


def _bpe(
    model: SentencePieceModel, ids: Mapping[str, int], missing: Iterable[str], unknown: str
) -> models.BPE:
    following = max(ids.values()) + 1
    names = [piece.text for piece in model.pieces]
    return models.BPE(
        vocab={**ids, **{text: following + place for place, text in enumerate(missing)}},
        merges=merges_by_score(model, names),
        unk_token=unknown,
        fuse_unk=True,
    )


def _decoder(
    model: SentencePieceModel, ids: Mapping[str, int], named: set[str], behind: str
) -> decoders.Sequence:
    """Joins pieces, strips the end, and a space from the start.

    named: special tokens. behind: what follows these.
    """
    controls = {p.text for p in model.pieces if p.kind not in (NORMAL, USER_DEFINED) and p.text}
    silent = sorted(controls & ids.keys() - named)
    longest = sorted(named & ids.keys() - {""}, key=len, reverse=True)
    return decoders.Sequence(
        [
            *(decoders.Replace(Regex(rf"\A{re.escape(text)}\z"), "") for text in silent),
            decoders.Replace(Regex(f"[{LANGUAGE}{END}]"), ""),
            decoders.Replace(_SPACE, " "),
            decoders.Fuse(),
            *(decoders.Replace(Regex(re.escape(text) + " *"), text + behind) for text in longest),
            decoders.Replace(Regex(r"__[a-z]{2,3}__\K +"), behind),
            decoders.Strip(content=" ", left=1),  # not all: a stream begins anywhere
            decoders.Replace(Regex(rf"{_WHITE}+\z"), ""),
        ]
    )


def _marian_extra(
    _added: object, config: Mapping[str, Any], vocab: Mapping[str, int]
) -> list[Token]:
    """The languages, where a text begins with one: its normalized form has a mark before it."""
    del config
    return [AddedToken(code, normalized=True, special=False) for code in codes(vocab)]


def _m2m_100_extra(
    _added: object, config: Mapping[str, Any], vocab: Mapping[str, int]
) -> list[Token]:
    """The languages, whose ids follow those of vocab.json."""
    del vocab
    kind = config.get("language_codes") or "m2m100"
    if kind not in ("m2m100", "wmt21"):
        raise CheckpointError(
            f"tokenizer_config.json: language_codes must be m2m100 or wmt21, got {kind!r:.60}"
        )
    return [f"__{code}__" for code in (M2M_100 if kind == "m2m100" else WMT_21)]


def _marian_ends(tokenizer: Tokenizer, config: Mapping[str, Any]) -> processors.PostProcessor:
    return template(tokenizer, None, needed(config, "eos_token"))


def _m2m_100_ends(tokenizer: Tokenizer, config: Mapping[str, Any]) -> processors.PostProcessor:
    language = f"__{config.get('src_lang') or 'en'}__"
    if tokenizer.token_to_id(language) is None:
        raise CheckpointError(
            f"tokenizer_config.json: src_lang is {config.get('src_lang')!r:.60}, and the tokenizer "
            f"has no token {language}"
        )
    return template(tokenizer, language, None, needed(config, "eos_token"))


NUMBERED_RECIPES: Mapping[str, Recipe] = {
    "M2M100Tokenizer": Recipe(
        make=_m2m_100,
        tokens={
            "bos_token": "<s>",
            "eos_token": "</s>",
            "sep_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
        },
        vocab_file="sentencepiece.bpe.model",
        numbered_by="vocab.json",
        more=_m2m_100_extra,
        ends=_m2m_100_ends,
    ),
    "MarianTokenizer": Recipe(
        make=_marian,
        tokens={"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
        vocab_file="source.spm",
        numbered_by="vocab.json",
        more=_marian_extra,
        ends=_marian_ends,
    ),
}
