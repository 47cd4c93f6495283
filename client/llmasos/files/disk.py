"""Errors of a disk that is full or cannot be written, in one line."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from llmasos.byte_size import format_bytes
from llmasos.errors import LLMasOSError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_OF_THE_DISK = _FULL | {errno.EROFS, errno.EFBIG, errno.EIO}
_PROBE_BYTES = 1 << 20
_HINT = "free some room, or choose another place"


def is_of_the_disk(error: OSError) -> bool:
    """True if the error is the disk's fault and not the file's."""
    return error.errno in _OF_THE_DISK


def free_bytes(place: Path) -> int | None:
    """Bytes that may still be written at a place that need not exist yet; None if unlimited."""
    nearest = next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())
    try:
        found = os.statvfs(nearest)
    except OSError:
        return None  # whoever writes there says why that cannot be
    return found.f_bavail * found.f_frsize if found.f_blocks else None


class NoRoomError(OSError):
    """The disk is too full for what is about to be written; both sizes are in bytes."""

    def __init__(self, *, free: int, needed: int) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.free = free
        self.needed = needed


def check_room(place: Path, needed: int) -> None:
    """Raises NoRoomError if fewer than the needed bytes are free at the place."""
    free = free_bytes(place)
    if free is not None and free < needed:
        raise NoRoomError(free=free, needed=needed)


def not_written(place: Path, problem: OSError, *, error: type[LLMasOSError]) -> LLMasOSError:
    """Returns an error of class `error` for a place that could not be written."""
    said = f"{place} cannot be written: {problem.strerror or problem}"
    if isinstance(problem, NoRoomError):
        free, needed = format_bytes(problem.free), format_bytes(problem.needed)
        said += f" ({free} are free, {needed} are needed)"
    return error(said, hint=_HINT if problem.errno in _FULL else None)


def trouble_of(file: Path) -> OSError | None:
    """The reason why nothing more can be written to a file, or None.

    It appends a few bytes to find out and removes them again. It is for libraries that do not
    report such errors. The file may be missing.
    """
    try:
        with file.open("ab", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            try:
                while stream.tell() < size + _PROBE_BYTES:
                    stream.write(bytes(size + _PROBE_BYTES - stream.tell()))
            finally:
                with suppress(OSError):
                    stream.truncate(size)
    except OSError as error:
        return error
    return None
