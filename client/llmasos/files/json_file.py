"""Reads the JSON files of a checkpoint, with one clear line for each way they fail.

Nothing in a file is unbounded: its bytes are limited by its name, and the depth, number and
length of its values are limited for all files.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from llmasos.errors import CheckpointError
from llmasos.files.regular_file import is_there, read_regular

_MIB = 1 << 20
# Several times the largest that well-known checkpoints have.
MAX_BYTES: Mapping[str, int] = MappingProxyType(
    {
        "chat_template.jinja": 4 * _MIB,
        "config.json": 16 * _MIB,
        "generation_config.json": 16 * _MIB,
        "hf_quant_config.json": 16 * _MIB,
        "merges.txt": 64 * _MIB,
        "model.safetensors.index.json": 64 * _MIB,
        "pytorch_model.bin.index.json": 64 * _MIB,
        "sentencepiece.bpe.model": 64 * _MIB,
        "spiece.model": 64 * _MIB,
        "tokenizer.json": 256 * _MIB,
        "tokenizer.model": 64 * _MIB,
        "tokenizer_config.json": 64 * _MIB,
        "vocab.json": 64 * _MIB,
    }
)
_MAX_OTHER_BYTES = 16 * _MIB
MAX_DEPTH = 64
MAX_VALUES = 1 << 23
_MAX_DIGITS = 100
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_json_object(path: Path, *, default: dict[str, Any] | None = None) -> dict[str, Any]:
    """Returns the object in a JSON file, or default if there is no such file.

    Raises CheckpointError if the file is missing (and there is no default), not a regular file,
    too large, not JSON, or not an object.
    """
    if default is not None and not is_there(path):
        return default
    return parse_json_object(read_bytes(path), name=str(path))


def read_bytes(path: Path) -> bytes:
    """Returns the content of a small file of a checkpoint; its name bounds its size.

    Raises CheckpointError if it is missing, unreadable or too large.
    """
    return read_regular(path, at_most=MAX_BYTES.get(path.name, _MAX_OTHER_BYTES))


def parse_json_object(content: bytes, *, name: str) -> dict[str, Any]:
    """Returns the object in JSON text. name: what a CheckpointError calls the text."""
    num_values = sum(content.count(mark) for mark in (b",", b"[", b"{"))  # or a few more
    if num_values > MAX_VALUES:
        raise CheckpointError(f"{name} has {num_values} values, at most {MAX_VALUES} are read")
    try:
        text = content.decode(json.detect_encoding(content))
        value = json.loads(text, object_pairs_hook=_object, parse_int=_whole_number)
        if _ESCAPED_SURROGATE.search(content):
            json.dumps(value, ensure_ascii=False).encode()  # raises for half a pair
    except UnicodeEncodeError as error:
        raise CheckpointError(f"{name} has text that is not Unicode: a lone surrogate") from error
    except RecursionError as error:
        raise CheckpointError(_too_deep(name)) from error
    except (ValueError, MemoryError) as error:
        reason = str(error) or "there is not enough memory"
        raise CheckpointError(f"{name} is not valid JSON: {reason}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{name} must hold a JSON object, got {type(value).__name__}")
    _check_depth(value, name)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice!r} appears twice")
    return found


def _whole_number(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits, at most {_MAX_DIGITS} are read")
    return int(digits)


def _check_depth(value: Any, name: str) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise CheckpointError(_too_deep(name))


def _too_deep(name: str) -> str:
    return f"{name} nests objects and lists deeper than {MAX_DEPTH}"
