"""A tokenizer's vocabulary, from tokenizer.json or from the files of older checkpoints."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from reprlib import repr as short
from typing import Any

import tokenizers
from tokenizers import AddedToken

from llmasos.errors import CheckpointError
from llmasos.text.rust_panics import panics_as
from llmasos.text.tokenizer_files.bounds import check_bounds
from llmasos.text.tokenizer_files.recipe import BPE, UNIGRAM, WORD_PIECE, Recipe, Vocabulary
from llmasos.text.tokenizer_files.sentencepiece_model import (
    CONTROL,
    USER_DEFINED,
    SentencePieceModel,
)
from llmasos.text.tokenizer_files.sources import (
    MERGES_FILE,
    SENTENCEPIECE_FILE,
    SENTENCEPIECE_FILES,
    TOKENIZER_FILE,
    VOCAB_FILE,
    WORDS_FILE,
    TokenizerSources,
)

# What Unicode calls White_Space, which ends lines of vocab.txt.
_WHITE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)


def read_backend(sources: TokenizerSources) -> tokenizers.Tokenizer | None:
    """Returns the tokenizer of tokenizer.json as it stands; None without that file.

    Raises CheckpointError if it cannot be read or exceeds a bound.
    """
    content = sources.json(TOKENIZER_FILE)
    if content is None:
        return None
    path = sources.path(TOKENIZER_FILE)
    check_bounds(content, path)
    try:
        with panics_as(CheckpointError, f"{path} is not a readable tokenizer"):
            return tokenizers.Tokenizer.from_buffer(sources.contents[TOKENIZER_FILE])
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path} is not a readable tokenizer: {reason}") from error


def read_sentencepiece(
    sources: TokenizerSources, own: str = SENTENCEPIECE_FILE
) -> SentencePieceModel | None:
    """Returns the SentencePiece model, None without one. own: the file that the class names.

    As in transformers, a tokenizer.model comes before the class's own file.
    """
    for name in dict.fromkeys((SENTENCEPIECE_FILE, own)):
        if name in sources.contents:
            return SentencePieceModel.parse(sources.contents[name], sources.path(name))
    return None


def read_vocabulary(
    sources: TokenizerSources, name: str, recipe: Recipe, config: Mapping[str, Any]
) -> Vocabulary:
    """Returns the vocabulary for a class. name: the class, for messages.

    config: tokenizer_config.json with the class's named tokens. Raises CheckpointError for a
    model of another kind than the class's, and for parts that do not fit together.
    """
    stored = sources.json(TOKENIZER_FILE)
    if stored is None:
        return _of_other_files(sources, recipe, config)
    model = stored.get("model")
    path = sources.path(TOKENIZER_FILE)
    kind = model.get("type", BPE) if isinstance(model, Mapping) else None
    if not isinstance(model, Mapping) or kind != recipe.model:
        raise _other_kind(path, kind, name, recipe.model)
    if kind == UNIGRAM:
        return Vocabulary(pieces=_pieces(model.get("vocab"), path), charsmap=_charsmap(stored))
    if kind == WORD_PIECE:
        return Vocabulary(vocab=_ids_of(model.get("vocab"), path))
    if "merges" not in model:
        raise _other_kind(path, kind, name, recipe.model)
    return _fitting(model.get("vocab"), model["merges"], path, _charsmap(stored))


def _other_kind(path: str, kind: Any, name: str, needed: str) -> CheckpointError:
    return CheckpointError(
        f"{path} has a model of the type {kind!r}, and the tokenizer_class {name} needs {needed}"
    )


def _of_other_files(
    sources: TokenizerSources, recipe: Recipe, config: Mapping[str, Any]
) -> Vocabulary:
    if recipe.vocab_file == WORDS_FILE:
        return _of_words(sources)
    if recipe.numbered_by is not None:
        return _numbered(sources, recipe)
    if recipe.vocab_file in SENTENCEPIECE_FILES:
        return _of_sentencepiece(sources, recipe, config)
    if recipe.vocab_file is None:
        raise _missing(sources, "other vocabulary that its class is made of")
    return _of_two_files(sources)


def _of_words(sources: TokenizerSources) -> Vocabulary:
    if WORDS_FILE not in sources.contents:
        raise _missing(sources, WORDS_FILE)
    lines = sources.text(WORDS_FILE).removesuffix("\n").split("\n")
    return Vocabulary(vocab={line.rstrip(_WHITE): index for index, line in enumerate(lines)})


def _of_sentencepiece(
    sources: TokenizerSources, recipe: Recipe, config: Mapping[str, Any]
) -> Vocabulary:
    assert recipe.vocab_file is not None
    model = read_sentencepiece(sources, recipe.vocab_file)
    if model is None:
        raise _missing(sources, recipe.vocab_file)
    added = model_tokens(model)
    pieces = [(piece.text, piece.score) for piece in model.pieces]
    arranged = pieces if recipe.arrange is None else recipe.arrange(pieces, config)
    if recipe.model == BPE:
        merges = merges_by_id({text: index for index, (text, _) in enumerate(pieces)})
        ids = {text: index for index, (text, _) in enumerate(arranged)}
        return Vocabulary(vocab=ids, merges=merges, charsmap=model.charsmap, added=added)
    return Vocabulary(pieces=arranged, charsmap=model.charsmap, added=added)


def _numbered(sources: TokenizerSources, recipe: Recipe) -> Vocabulary:
    assert recipe.vocab_file is not None and recipe.numbered_by is not None
    ids = sources.json(recipe.numbered_by)
    if ids is None or recipe.vocab_file not in sources.contents:
        raise _missing(sources, f"{recipe.vocab_file} with {recipe.numbered_by}")
    path = sources.path(recipe.vocab_file)
    model = SentencePieceModel.parse(sources.contents[recipe.vocab_file], path)
    return Vocabulary(vocab=_ids_of(ids, sources.path(recipe.numbered_by)), model=model)


def model_tokens(model: SentencePieceModel) -> tuple[AddedToken, ...]:
    """The tokens that a SentencePiece model never splits; its control tokens are special."""
    return tuple(
        AddedToken(piece.text, normalized=False, special=piece.kind == CONTROL)
        for piece in model.pieces
        if piece.kind in (CONTROL, USER_DEFINED)
    )


def merges_by_id(ids: Mapping[str, int]) -> list[tuple[str, str]]:
    """Every way to split a token into two others: those of the lowest token first.

    SentencePiece's BPE joins the two neighbours that make the piece with the best score, and its
    pieces are sorted by score.
    """
    merges = [
        (index, cut, token)
        for token, index in ids.items()
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]
    return [(token[:cut], token[cut:]) for _, cut, token in sorted(merges)]


def _of_two_files(sources: TokenizerSources) -> Vocabulary:
    vocab = sources.json(VOCAB_FILE)
    if vocab is None or MERGES_FILE not in sources.contents:
        raise _missing(sources, f"{VOCAB_FILE} with {MERGES_FILE}")
    lines = sources.text(MERGES_FILE).split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    return _fitting(vocab, merges, f"{sources.path(VOCAB_FILE)} and {sources.path(MERGES_FILE)}")


def _missing(sources: TokenizerSources, files: str) -> CheckpointError:
    return CheckpointError(
        f"{sources.name} has no {TOKENIZER_FILE}, and no {files}",
        hint="the tokenizer's save_pretrained(DIR), of transformers, puts it beside the weights",
    )


def _pieces(vocab: Any, path: str) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for entry in vocab if isinstance(vocab, list) else ():
        match entry:
            case [str(text), float() | int() as score] if not isinstance(score, bool):
                found.append((text, float(score)))
            case _:
                raise CheckpointError(f"{path}: the vocabulary has {short(entry)}")
    if not found:
        raise CheckpointError(f"{path}: the vocabulary is {short(vocab)}")
    return found


def _charsmap(stored: Mapping[str, Any]) -> bytes | None:
    """The compiled rules of the first normalizer that has any."""
    normalizer = stored.get("normalizer")
    steps = normalizer.get("normalizers", [normalizer]) if isinstance(normalizer, Mapping) else []
    for step in steps:
        if isinstance(step, Mapping) and step.get("type") == "Precompiled":
            try:
                return base64.b64decode(step.get("precompiled_charsmap") or "")
            except (binascii.Error, TypeError) as error:
                raise CheckpointError(f"{TOKENIZER_FILE}: precompiled_charsmap: {error}") from error
    return None


def _ids_of(vocab: Any, path: str) -> dict[str, int]:
    if not isinstance(vocab, dict):
        raise CheckpointError(f"{path}: the vocabulary is {short(vocab)}")
    try:
        return _ids(vocab)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _fitting(vocab: Any, merges: Any, path: str, charsmap: bytes | None = None) -> Vocabulary:
    if not isinstance(vocab, dict) or not isinstance(merges, list):
        raise CheckpointError(f"{path} do not fit together: the vocabulary is {short(vocab)}")
    try:
        pairs = list(_pairs(merges, vocab))
        return Vocabulary(vocab=_ids(vocab), merges=pairs, charsmap=charsmap)
    except ValueError as error:
        raise CheckpointError(f"{path} do not fit together: {error}") from error


def _ids(vocab: dict[str, Any]) -> dict[str, int]:
    for token, index in vocab.items():
        if type(index) is not int or not 0 <= index < 1 << 31:
            raise ValueError(f"the token {token!r} has the id {index!r}")
    return vocab


def _pairs(merges: Iterable[Any], vocab: Mapping[str, int]) -> Iterable[tuple[str, str]]:
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2:
            raise ValueError(f"the merge {merge!r} is not a pair of tokens")
        left, right = parts
        for token in (left, right, f"{left}{right}"):
            if token not in vocab:
                raise ValueError(f"the merge {merge!r} needs the token {token!r}, which is missing")
        yield left, right
