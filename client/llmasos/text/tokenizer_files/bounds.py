"""Bounds on what a tokenizer.json may ask of the library that runs it.

Its components run over every text of every request, so their number, and the factor by which
they lengthen a text, are bounded. Backtracking of patterns is bounded by the library's own
engine, which panics when it gives up (`llmasos.text.rust_panics`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmasos.errors import CheckpointError

MAX_ADDED_TOKENS = 1 << 18
MAX_TOKEN_CHARACTERS = 1 << 12
MAX_PARTS = 1 << 10
MAX_GROWTH = 1 << 10
_MAX_PIECES = 64
_SECTIONS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")


def check_bounds(tokenizer: Mapping[str, Any], path: str) -> None:
    """tokenizer: the content of tokenizer.json. Raises CheckpointError if it exceeds a bound."""
    added = tokenizer.get("added_tokens")
    contents = [entry.get("content") for entry in added or () if isinstance(entry, Mapping)]
    check_added_tokens(contents, path)
    for section in _SECTIONS:
        parts = list(_parts(tokenizer.get(section), f"{path}: {section}"))
        growth = 1.0
        for part in parts:
            growth *= _growth(part)
            if growth > MAX_GROWTH:
                raise CheckpointError(
                    f"{path}: {section} can make a text more than {MAX_GROWTH} times longer"
                )


def check_added_tokens(contents: list[Any], path: str) -> None:
    """Raise CheckpointError for too many added tokens, or one that is too long."""
    if len(contents) > MAX_ADDED_TOKENS:
        raise CheckpointError(
            f"{path} has {len(contents)} added tokens, at most {MAX_ADDED_TOKENS} are read"
        )
    longest = max((len(text) for text in contents if isinstance(text, str)), default=0)
    if longest > MAX_TOKEN_CHARACTERS:
        raise CheckpointError(
            f"{path} has an added token of {longest} characters, at most {MAX_TOKEN_CHARACTERS} "
            "are read"
        )


def _parts(section: Any, where: str) -> Iterator[Mapping[str, Any]]:
    """Yields every object with a type, at any depth."""
    waiting = [section]
    num_parts = 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
            if "type" in value:
                num_parts += 1
                yield value
        elif isinstance(value, list):
            waiting += value
        if num_parts > MAX_PARTS:
            raise CheckpointError(f"{where} has more than {MAX_PARTS} parts")


def _growth(part: Mapping[str, Any]) -> float:
    """The largest factor by which a component lengthens a text."""
    if part["type"] == "Replace":
        return _growth_of_replacing(part.get("pattern"), part.get("content"))
    if part["type"] == "TemplateProcessing":
        return float(max(_num_copies(part.get("single")), 1))
    return 1.0


def _num_copies(pieces: Any) -> int:
    """How often a template repeats the text; other pieces above _MAX_PIECES count as copies."""
    named = pieces if isinstance(pieces, list) else []
    copies = sum(isinstance(piece, Mapping) and "Sequence" in piece for piece in named)
    return max(copies, len(named) - _MAX_PIECES)


def _growth_of_replacing(pattern: Any, content: Any) -> float:
    size = len(content.encode()) if isinstance(content, str) else 0
    if isinstance(pattern, Mapping) and isinstance(text := pattern.get("String"), str) and text:
        return max(size / len(text.encode()), 1.0)
    regex = pattern.get("Regex") if isinstance(pattern, Mapping) else None
    if isinstance(regex, str) and regex.startswith(r"\A") and "|" not in regex:
        return 1.0  # it matches once, at the start of a text
    return 1.0 + size  # of a pattern that can match between any two characters
