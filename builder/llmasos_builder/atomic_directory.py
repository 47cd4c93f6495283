"""A directory that appears complete or not at all.

It is filled under another name beside its place and renamed at the end. A process that is killed
leaves a half-filled directory behind; a living one holds a lock on it, so the next build can tell
the two apart and remove it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmasos.engine.plan_lock import is_open
from llmasos.errors import PlanError
from llmasos.files.disk import is_of_the_disk, not_written

_MAX_PATH_BYTES = 3500
"""The kernel's limit is 4096; the rest leaves room for the staging name and file names."""


@contextmanager
def atomic_directory(output: Path, *, may_replace: Callable[[Path], bool]) -> Generator[Path]:
    """Yields an empty directory to fill, which becomes `output` if the block ends without error.

    may_replace: whether an existing directory may be replaced; an empty one always may.
    Raises PlanError if something else is in the way, before or after the work, and if the disk is
    full or cannot be written.
    """
    output = output.absolute()
    _check_place(output, may_replace)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(output)
        staging, lock = _locked_staging(output)
    except OSError as error:
        raise not_written(output, error, error=PlanError) from error
    try:
        content = staging / "content"
        content.mkdir()
        yield content
        _check_place(output, may_replace)
        if output.exists():
            output.rename(staging / "replaced")
        content.rename(output)
    except OSError as error:
        if not is_of_the_disk(error):
            raise
        raise not_written(output, error, error=PlanError) from error
    finally:
        os.close(lock)
        shutil.rmtree(staging, ignore_errors=True)


def _locked_staging(output: Path) -> tuple[Path, int]:
    """Returns a directory locked so that no other build removes it, and the lock."""
    while True:
        staging = Path(tempfile.mkdtemp(dir=output.parent, prefix=_prefix(output)))
        with suppress(FileNotFoundError):
            lock = os.open(staging, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if is_open(lock, staging):
                return staging, lock
            os.close(lock)
        # Another build found it before it was locked, and removed it.


def _prefix(output: Path) -> str:
    return f".{output.name}.building-"


def _check_place(output: Path, may_replace: Callable[[Path], bool]) -> None:
    num_bytes = len(os.fsencode(output))
    if num_bytes > _MAX_PATH_BYTES:
        raise PlanError(
            f"the output's path has {num_bytes} bytes, at most {_MAX_PATH_BYTES} leave room for "
            "the files in it"
        )
    if not os.path.lexists(output):
        return
    if not output.is_dir():
        raise PlanError(f"{output} exists and is not a directory")
    if output.is_symlink():
        raise PlanError(f"{output} is a symbolic link", hint="name the directory itself")
    if any(output.iterdir()) and not may_replace(output):
        raise PlanError(
            f"{output} is not empty and was not written by LLMasOS", hint="choose another output"
        )


def _remove_abandoned(output: Path) -> None:
    for path in output.parent.iterdir():
        if path.name.startswith(_prefix(output)):
            with suppress(BlockingIOError, FileNotFoundError):  # at work, or gone meanwhile
                _remove_unless_locked(path)


def _remove_unless_locked(path: Path) -> None:
    lock = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)
