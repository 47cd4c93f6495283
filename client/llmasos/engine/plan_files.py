"""The files of a plan: their sizes and hashes, and whether they are still what was built."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from llmasos.errors import LLMasOSError, PlanError
from llmasos.files.regular_file import is_there, open_regular, regular_size

REBUILD = "build it again with `llmasos build`"


class FileRecord(BaseModel):
    """Size in bytes and content hash of one file of the plan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


def record_file(path: Path, *, error: type[LLMasOSError] = PlanError) -> FileRecord:
    """Computes the size and sha256 of a file; raises `error` if it cannot be read."""
    digest = hashlib.sha256()
    size = 0
    with open_regular(path, error=error) as stream:
        while chunk := stream.read(1 << 22):
            digest.update(chunk)
            size += len(chunk)
    return FileRecord(size=size, sha256=digest.hexdigest())


def check_files(directory: Path, files: Mapping[str, FileRecord]) -> None:
    """Raises PlanError for a file that is missing or has changed."""
    for name, record in files.items():
        _check_file(directory / name, record)


def _check_file(path: Path, expected: FileRecord) -> None:
    if not is_there(path, error=PlanError):
        raise PlanError(f"{path} is missing", hint=REBUILD)
    size = regular_size(path, error=PlanError)
    if size != expected.size:
        raise PlanError(f"{path} has {size} bytes, {expected.size} expected", hint=REBUILD)
    if record_file(path).sha256 != expected.sha256:
        raise PlanError(f"{path} has changed since it was built", hint=REBUILD)
