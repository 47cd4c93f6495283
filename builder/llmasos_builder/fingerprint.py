"""Identifies what a build of a checkpoint would read, without reading weights.

Two fingerprints are equal only if the builds would read the same. A small file counts by its
content. A large one counts by its size, its times and its inode: a copy that keeps the time of
the last change (`cp -p`, `rsync -t`) still changes the time when the inode was written.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from llmasos.errors import CheckpointError
from llmasos.files.regular_file import read_regular

from llmasos_builder.hub_commit import commit_of
from llmasos_builder.origin import GGUF, Directory, Known, origin_of

_SMALL_BYTES = 1 << 20
_FOLDERS = (
    "*_*/*"  # additional_chat_templates, and sentence-transformers' modules such as 1_Pooling
)
_SHARD_NAME = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})\.gguf")


def fingerprint(source: str | Path, *, revision: str | None = None) -> list[object]:
    """Returns JSON values. source, revision: see `open_checkpoint`.

    A hub id stands for its current commit. Raises CheckpointError for an unknown name.
    """
    origin = origin_of(source)
    if isinstance(origin, Directory | GGUF):
        find = _read_in if isinstance(origin, Directory) else _shards
        try:
            return [str(origin.path.resolve()), *_files(find(origin.path))]
        except OSError as error:
            raise CheckpointError(f"{origin.path} cannot be read: {error.strerror}") from error
    if isinstance(origin, Known):
        return ["package", origin.file.requirement, origin.file.file, origin.file.size]
    commit = commit_of(origin.repository, revision)
    return ["hub", origin.repository, origin.file, commit or revision]


def _read_in(directory: Path) -> Iterator[Path]:
    """Yields all files that are not hidden: a file that is not read today may be read later."""
    yield from (path for path in directory.iterdir() if not path.name.startswith("."))
    yield from directory.glob(_FOLDERS)


def _shards(path: Path) -> Iterable[Path]:
    named = _SHARD_NAME.fullmatch(path.name)
    if named is None:
        return [path]
    shards = ((_SHARD_NAME.fullmatch(other.name), other) for other in path.parent.iterdir())
    return [
        other for match, other in shards if match is not None and match.groups() == named.groups()
    ]


def _files(paths: Iterable[Path]) -> list[list[object]]:
    found = ((path, _stat(path)) for path in sorted(paths))
    return [
        [path.name, *_identity(path, result)]
        for path, result in found
        if result is None or not stat.S_ISDIR(result.st_mode)
    ]


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # such as a link to nothing
        return None


def _identity(path: Path, result: os.stat_result | None) -> list[object]:
    if result is None or not stat.S_ISREG(result.st_mode):
        return ["no regular file"]
    if result.st_size <= _SMALL_BYTES:
        try:
            content = read_regular(path, at_most=_SMALL_BYTES)
        except CheckpointError:  # whoever needs it says why
            return ["cannot be read"]
        return [hashlib.sha256(content).hexdigest()]
    return [result.st_size, result.st_mtime_ns, result.st_ctime_ns, result.st_ino]
