"""A tokenizer's vocabulary and merges, from tokenizer.json or from two files of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from reprlib import repr as short
from typing import Any

import tokenizers

from llmasos.errors import CheckpointError
from llmasos.text.rust_panics import panics_as
from llmasos.text.tokenizer_files.bounds import check_bounds
from llmasos.text.tokenizer_files.rebuilt import Vocabulary
from llmasos.text.tokenizer_files.sources import (
    MERGES_FILE,
    TOKENIZER_FILE,
    VOCAB_FILE,
    TokenizerSources,
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


def read_vocabulary(sources: TokenizerSources, name: str) -> Vocabulary:
    """Returns the vocabulary and merges for a class. name: the class, for messages.

    Raises CheckpointError for a model that is not BPE, and for parts that do not fit together.
    """
    stored = sources.json(TOKENIZER_FILE)
    if stored is None:
        return _of_two_files(sources)
    model = stored.get("model")
    path = sources.path(TOKENIZER_FILE)
    kind = model.get("type", "BPE") if isinstance(model, Mapping) else None
    if not isinstance(model, Mapping) or kind != "BPE" or "merges" not in model:
        raise CheckpointError(
            f"{path} has a model of the type {kind!r}, and the tokenizer_class {name} needs BPE"
        )
    return _fitting(model.get("vocab"), model["merges"], path)


def _of_two_files(sources: TokenizerSources) -> Vocabulary:
    vocab = sources.json(VOCAB_FILE)
    if vocab is None or MERGES_FILE not in sources.contents:
        raise CheckpointError(
            f"{sources.name} has no {TOKENIZER_FILE}, and no {VOCAB_FILE} with {MERGES_FILE}",
            hint="the tokenizer's save_pretrained(DIR), of transformers, puts it beside the "
            "weights",
        )
    lines = sources.text(MERGES_FILE).split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    return _fitting(vocab, merges, f"{sources.path(VOCAB_FILE)} and {sources.path(MERGES_FILE)}")


def _fitting(vocab: Any, merges: Any, path: str) -> Vocabulary:
    if not isinstance(vocab, dict) or not isinstance(merges, list):
        raise CheckpointError(f"{path} do not fit together: the vocabulary is {short(vocab)}")
    try:
        return Vocabulary(vocab=_ids(vocab), merges=list(_pairs(merges, vocab)))
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
