"""Read the small JSON files of a checkpoint, with one clear line for each way they fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmasos.errors import CheckpointError

_MAX_BYTES = 256 << 20


def read_json_object(path: Path, *, default: dict[str, Any] | None = None) -> dict[str, Any]:
    """The object in a JSON file, or default where there is no such file.

    Raises CheckpointError: the file is missing (and there is no default), too large, not
    JSON, or holds something else than an object.
    """
    if default is not None and not path.exists():
        return default
    return parse_json_object(read_bytes(path), name=str(path))


def read_bytes(path: Path) -> bytes:
    """The content of a small file; raises CheckpointError if it is missing or unreadable."""
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise CheckpointError(f"{path} has {size} bytes, at most {_MAX_BYTES} are read")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def parse_json_object(content: bytes, *, name: str) -> dict[str, Any]:
    """The object in JSON text; raises CheckpointError, which calls it by name."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{name} must hold a JSON object, got {type(value).__name__}")
    return value
