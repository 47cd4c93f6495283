"""The tokenizer classes of encoders and encoder-decoders: BERT's, RoBERTa's, T5's and relatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from llmasos.errors import CheckpointError
from llmasos.text.tokenizer_files.recipe import (
    UNIGRAM,
    WORD_PIECE,
    Recipe,
    ScoredPieces,
    Vocabulary,
    flag_of,
    special_of_model,
    unknown_token,
)
from llmasos.text.tokenizer_files.templates_of_class import needed, spaced, template
from llmasos.text.tokenizer_files.token_entries import Token

_MAX_EXTRA_IDS = 1 << 12


def _bert(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    unknown = unknown_token(vocabulary, config)
    tokenizer = Tokenizer(models.WordPiece(dict(vocabulary.vocab), unk_token=unknown))
    strips = config.get("strip_accents")
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=flag_of(config, "tokenize_chinese_chars", default=True),
        strip_accents=None if strips is None else flag_of(config, "strip_accents", default=True),
        lowercase=flag_of(config, "do_lower_case", default=True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _roberta(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    model = vocabulary.bpe(continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False)
    tokenizer = Tokenizer(model)
    prefix = flag_of(config, "add_prefix_space", default=False)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _t5(vocabulary: Vocabulary, _config: Mapping[str, Any]) -> Tokenizer:
    tokenizer = Tokenizer(vocabulary.unigram(unk_id=2))
    if vocabulary.charsmap is not None:
        tokenizer.normalizer = normalizers.Precompiled(vocabulary.charsmap)
    return spaced(tokenizer, "always")


def _xlm_roberta(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Tokenizer:
    tokenizer = Tokenizer(vocabulary.unigram(unk_id=3))
    if vocabulary.charsmap is not None:
        tokenizer.normalizer = normalizers.Precompiled(vocabulary.charsmap)
    prefix = flag_of(config, "add_prefix_space", default=True, absent=False)
    return spaced(tokenizer, "always" if prefix else "never")


def _extra_ids(config: Mapping[str, Any]) -> list[str]:
    number = config.get("extra_ids", 100)
    if type(number) is not int or number > _MAX_EXTRA_IDS:
        raise CheckpointError(
            f"tokenizer_config.json: extra_ids must be a number up to {_MAX_EXTRA_IDS}, "
            f"got {number!r}"
        )
    return [f"<extra_id_{index}>" for index in range(number)]


def _t5_pieces(pieces: ScoredPieces, config: Mapping[str, Any]) -> ScoredPieces:
    return [*pieces, *((token, 0.0) for token in reversed(_extra_ids(config)))]


def _t5_extra(added: tuple[AddedToken, ...] | None, config: Mapping[str, Any]) -> list[Token]:
    ids: list[Token] = [*_extra_ids(config)]
    there = [token for token in added or () if "<extra_id_" in token.content]
    if there and ids and len(there) != len(ids):
        raise CheckpointError(
            f"tokenizer_config.json: extra_ids is {len(ids)}, and the SentencePiece model has "
            f"{len(there)} of these tokens; extra_ids 0 takes the model's"
        )
    return [*(added or ()), *(() if there else ids)]


def _xlm_roberta_pieces(pieces: ScoredPieces, config: Mapping[str, Any]) -> ScoredPieces:
    """fairseq's ids: four special tokens in place of SentencePiece's three, a mask at the end."""
    first = [(str(config[f"{name}_token"]), 0.0) for name in ("bos", "pad", "eos", "unk")]
    return [*first, *pieces[3:], (str(config["mask_token"]), 0.0)]


def _around(before: str | None, after: str) -> Any:
    """Ends with one named token before each text and one after it. before: None for none."""

    def ends(tokenizer: Tokenizer, config: Mapping[str, Any]) -> processors.PostProcessor:
        first = () if before is None else (needed(config, before),)
        return template(tokenizer, *first, None, needed(config, after))

    return ends


def _roberta_ends(tokenizer: Tokenizer, config: Mapping[str, Any]) -> processors.PostProcessor:
    ids = [
        (token, tokenizer.token_to_id(token) or 0)
        for token in (needed(config, "sep_token"), needed(config, "cls_token"))
    ]
    return processors.RobertaProcessing(
        ids[0],
        ids[1],
        flag_of(config, "trim_offsets", default=True),
        flag_of(config, "add_prefix_space", default=False),
    )


def _mpnet_ends(tokenizer: Tokenizer, config: Mapping[str, Any]) -> processors.PostProcessor:
    plain = {name: config.get(name) for name in ("sep_token", "cls_token")}
    return _roberta_ends(tokenizer, plain)


_BERT_TOKENS: Mapping[str, str | None] = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_ROBERTA_TOKENS: Mapping[str, str | None] = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "cls_token": "<s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}
_BERT = Recipe(
    make=_bert,
    tokens=_BERT_TOKENS,
    model=WORD_PIECE,
    vocab_file="vocab.txt",
    ends=_around("cls_token", "sep_token"),
)
_ROBERTA = Recipe(
    make=_roberta, tokens=_ROBERTA_TOKENS, vocab_file="vocab.json", ends=_roberta_ends
)
ENCODER_RECIPES: Mapping[str, Recipe] = {
    "BartTokenizer": _ROBERTA,
    "BertTokenizer": _BERT,
    "DistilBertTokenizer": _BERT,
    "ElectraTokenizer": _BERT,
    "MPNetTokenizer": Recipe(
        make=_bert,
        tokens={**_ROBERTA_TOKENS, "unk_token": "[UNK]"},
        model=WORD_PIECE,
        vocab_file="vocab.txt",
        flags={**{name: {} for name in _ROBERTA_TOKENS}, "mask_token": {"lstrip": True}},
        ends=_mpnet_ends,
    ),
    "RobertaTokenizer": _ROBERTA,
    "T5Tokenizer": Recipe(
        make=_t5,
        tokens={"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
        model=UNIGRAM,
        vocab_file="spiece.model",
        arrange=_t5_pieces,
        extra=_t5_extra,
        ends=_around(None, "eos_token"),
    ),
    "XLMRobertaTokenizer": Recipe(
        make=_xlm_roberta,
        tokens=_ROBERTA_TOKENS,
        model=UNIGRAM,
        vocab_file="sentencepiece.bpe.model",
        arrange=_xlm_roberta_pieces,
        extra=special_of_model,
        ends=_around("bos_token", "eos_token"),
    ),
}
