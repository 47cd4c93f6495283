"""Reads the inputs that list tokens or words, and what is added to logits."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from llmasos.errors import InvalidRequestError
from llmasos.sampling_limits import (
    MAX_BIASES,
    MAX_STOP_BYTES,
    MAX_STOP_STRINGS,
    MAX_STOP_TOKEN_IDS,
)
from llmasos.sampling_table import PARAMETERS

if TYPE_CHECKING:
    from llmasos_runtime.triton.fields import Fields

Decode = Callable[[Sequence[int]], str]
_TOKEN_LISTS = ("allowed_token_ids", "suppress_tokens", "begin_suppress_tokens")
_MAX_LISTED_IDS = 1 << 14
_MAX_JSON_BYTES = 40 * MAX_BIASES


def listed_words(fields: Fields, name: str) -> list[list[int]]:
    """Reads a classic word list: row 0 has all ids, row 1 the end of each word, or -1 for none."""
    num_ids = fields.num_elements(name) // 2
    if num_ids > _MAX_LISTED_IDS:
        raise InvalidRequestError(f"{name} holds {num_ids} tokens, at most {_MAX_LISTED_IDS}")
    matrix = fields.matrix(name)
    if matrix is None:
        return []
    ids, ends = matrix.tolist()
    words: list[list[int]] = []
    begin = 0
    for end in ends:
        if end <= 0 and not any(ids[begin:]):  # filled up with zeros
            break
        if end < 0:
            break
        if not begin < end <= len(ids):
            raise InvalidRequestError(
                f"{name}: the offset {end} must be above {begin} and at most {len(ids)}"
            )
        word = ids[begin:end]
        if min(word) < 0:
            raise InvalidRequestError(f"{name} holds the token {min(word)}, below 0")
        words.append(word)
        begin = end
    return words


def logit_bias(fields: Fields, encode: Callable[[str], list[int]]) -> tuple[tuple[int, float], ...]:
    """Adds up all inputs that say it: logit_bias, and the classic vector, words and weights.

    encode: returns the token ids of a word, each of which gets the word's weight.
    """
    biases: defaultdict[int, float] = defaultdict(float)
    for token, bias in _as_json(fields):
        biases[token] += bias
    vector = fields.vector("embedding_bias")
    if vector is not None:
        for token in vector.nonzero()[0].tolist():
            biases[token] += float(vector[token])
    for text, weight in _weighted_words(fields):
        for token in encode(text):
            biases[token] += weight
    return tuple(sorted(biases.items()))


def _as_json(fields: Fields) -> list[tuple[int, Any]]:
    if fields.num_bytes("logit_bias") > _MAX_JSON_BYTES:
        raise InvalidRequestError(
            f"logit_bias has {fields.num_bytes('logit_bias')} bytes, at most {_MAX_JSON_BYTES}"
        )
    text = "".join(fields.texts("logit_bias"))
    if not text:
        return []
    try:
        values = json.loads(text)
        return [(int(token), float(bias)) for token, bias in values.items()]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidRequestError(
            f"logit_bias must be a JSON object of numbers by token ids, got {text[:60]!r}"
        ) from error


def _weighted_words(fields: Fields) -> list[tuple[str, float]]:
    words, weights = "embedding_bias_words", "embedding_bias_weights"
    fields.check_texts(words, most=MAX_STOP_STRINGS, most_bytes=MAX_STOP_BYTES)
    texts, vector = fields.texts(words), fields.vector(weights)
    numbers = [] if vector is None else [float(number) for number in vector]
    if texts in ([], [""]) and not any(numbers):
        return []
    if len(texts) != len(numbers):
        raise InvalidRequestError(
            f"{words} and {weights} must be as many, got {len(texts)} and {len(numbers)}"
        )
    return [(text, number) for text, number in zip(texts, numbers, strict=True) if text]


def token_lists(fields: Fields) -> dict[str, Any]:
    """Lists of token ids that are read as they are; an empty one asks for nothing."""
    lists: dict[str, Any] = {}
    for name in _TOKEN_LISTS:
        if count := fields.num_elements(name):
            most = PARAMETERS[name].max_items or 0
            if count > most:
                raise InvalidRequestError(f"{name} holds {count} tokens, at most {most}")
            lists[name] = tuple(fields.integers(name))
    return lists


def bad_words(fields: Fields) -> tuple[str, ...]:
    fields.check_texts("bad_words", most=MAX_STOP_STRINGS, most_bytes=MAX_STOP_BYTES)
    return tuple(text for text in fields.texts("bad_words") if text)


def stops(fields: Fields, decode: Decode) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Returns stop strings and stop tokens: a listed word of several tokens is matched as text."""
    fields.check_texts("stop_text", most=MAX_STOP_STRINGS, most_bytes=MAX_STOP_BYTES)
    texts = [text for text in fields.texts("stop_text") if text]
    num_ids = fields.num_elements("stop_token_ids")
    if num_ids > MAX_STOP_TOKEN_IDS:
        raise InvalidRequestError(
            f"stop_token_ids holds {num_ids} tokens, at most {MAX_STOP_TOKEN_IDS}"
        )
    token_ids = fields.integers("stop_token_ids")
    for word in listed_words(fields, "stop_words_list"):
        if len(word) == 1:
            token_ids += word
            continue
        text = decode(word)
        if not text:
            raise InvalidRequestError(f"stop_words_list holds {word}, which has no text")
        texts.append(text)
    return tuple(texts), tuple(token_ids)
