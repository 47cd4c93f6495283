"""Opens files that others wrote: those of checkpoints and of plans.

Only regular files are opened: a pipe would wait for a writer, a device may never end, and
opening a device can have effects of its own. Links are followed, since the Hugging Face cache
is made of them, but must lead to a regular file. Each way to fail is reported in one line.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from llmasos.errors import CheckpointError, LLMasOSError

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_CHUNK_BYTES = 1 << 22
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


@contextmanager
def open_regular(path: Path, *, error: type[LLMasOSError] = CheckpointError) -> Generator[BinaryIO]:
    """Opens a file to read bytes.

    Raises `error` if it is missing, not a regular file, or cannot be opened or read.
    """
    try:
        _check_kind(path, os.stat(path).st_mode, error)  # noqa: PTH116 - before it is opened
        with open(os.open(path, _FLAGS), "rb") as stream:  # noqa: PTH123
            # It may be another file by now.
            _check_kind(path, os.fstat(stream.fileno()).st_mode, error)
            yield stream
    except (OSError, ValueError, MemoryError) as problem:
        raise error(_reason(path, problem)) from problem


def read_regular(path: Path, *, at_most: int, error: type[LLMasOSError] = CheckpointError) -> bytes:
    """Returns the content of a file of at most at_most bytes, even if it grows while it is read."""
    with open_regular(path, error=error) as stream:
        size = os.fstat(stream.fileno()).st_size
        chunks: list[bytes] = []
        room = at_most + 1
        while size <= at_most and room and (chunk := stream.read(min(room, _CHUNK_BYTES))):
            chunks.append(chunk)
            room -= len(chunk)
    size = max(size, at_most + 1 - room)
    if size > at_most:
        raise error(f"{path} has {size} bytes, at most {at_most} are read")
    return b"".join(chunks)


def regular_size(path: Path, *, error: type[LLMasOSError] = CheckpointError) -> int:
    """Returns the size of a regular file in bytes; raises `error` for anything else."""
    with open_regular(path, error=error) as stream:
        return os.fstat(stream.fileno()).st_size


def is_there(path: Path, *, error: type[LLMasOSError] = CheckpointError) -> bool:
    """True if anything has this name, including a link that leads nowhere.

    Raises `error` if that cannot be found out, for example for a name that is too long.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as problem:
        raise error(_reason(path, problem)) from problem
    return True


def _check_kind(path: Path, mode: int, error: type[LLMasOSError]) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "of an unknown kind")
        raise error(f"{path} is {kind}, only regular files are read")


def _reason(path: Path, problem: Exception) -> str:
    if isinstance(problem, MemoryError):
        return f"{path} cannot be read: there is not enough memory"
    if not isinstance(problem, OSError):  # such as a NUL character in the name
        return f"{path} cannot be read: {problem}"
    if isinstance(problem, FileNotFoundError):
        leads_nowhere = os.path.islink(path)  # noqa: PTH114 - does not raise
        return f"{path} is a link that leads nowhere" if leads_nowhere else f"{path} does not exist"
    return f"{path} cannot be read: {problem.strerror or problem}"
