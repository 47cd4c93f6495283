"""The private directory of one server, in shared memory: links with safe names, and a lock.

Triton's Python backend needs shared memory anyway, and its path holds nothing that a shell
reads. Everything that the server and its processes have hold of the lock and let go of it
when they end, whatever ends them. So a directory whose lock is free is of a dead server, in
whichever container or process namespace that one ran; its name says nothing about that.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from llmasos.errors import ServerError

from llmasos_serving.triton import process_guard
from llmasos_serving.triton.processes import end_orphans

_PREFIX = "llmasos-"
_MIN_FREE_BYTES = 16 << 20
_NUM_TRIES = 100


class RunDirectory:
    """Made by its constructor, readable by this user alone; `close` lets go of its lock.

    lock: the descriptor to hand to the processes of the server. Raises ServerError where
    there is no shared memory, or too little.
    """

    def __init__(self) -> None:
        _check_space()
        _check_tmp()
        self.path, self.lock = _make()

    @property
    def shm_prefix(self) -> str:
        """Begins the name of each shared memory region of this server."""
        return f"{self.path.name}-"

    def close(self) -> None:
        """Let go of the lock: from now on the processes of the server alone hold it."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1

    def remove_if_free(self) -> bool:
        """Remove the directory and its regions; False when a process holds the lock yet."""
        return _remove_if_free(self.path) or not self.path.exists()


@contextmanager
def tried_directory() -> Generator[Path]:
    """A directory as a server would get, for a look at what it would find there."""
    run = RunDirectory()
    try:
        yield run.path
    finally:
        run.close()
        run.remove_if_free()


def remove_leftovers() -> None:
    """Remove what servers of this user left behind that were killed with all their guards."""
    for path in process_guard.SHARED_MEMORY.glob(f"{_PREFIX}*"):
        if path.is_dir():
            end_orphans(path)
        _remove_if_free(path)


def _check_space() -> None:
    try:
        found = os.statvfs(process_guard.SHARED_MEMORY)
    except OSError as error:
        raise _refusal(str(error.strerror)) from error
    num_bytes = found.f_bavail * found.f_frsize
    if found.f_blocks and num_bytes < _MIN_FREE_BYTES:  # no blocks: it has no bound
        raise _refusal(f"{num_bytes} bytes are free, {_MIN_FREE_BYTES} are needed")


def _check_tmp() -> None:
    """Triton's Python backend has no other place for a directory that it makes at its start."""
    try:
        Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp")).rmdir()
    except OSError as error:
        raise ServerError(
            f"/tmp cannot be written ({error.strerror}), where Triton's Python backend makes "
            "a directory",
            hint="in a container: run it with --tmpfs /tmp",
        ) from error


def _make() -> tuple[Path, int]:
    for _ in range(_NUM_TRIES):
        try:
            path = tempfile.mkdtemp(
                prefix=f"{_PREFIX}{os.getpid()}-", dir=process_guard.SHARED_MEMORY
            )
        except OSError as error:
            raise _refusal(str(error.strerror)) from error
        lock = _lock(Path(path), fcntl.LOCK_SH)
        if lock is None:
            continue  # another launcher took it for a leftover, and removes it
        if os.fstat(lock).st_nlink:
            return Path(path), lock
        os.close(lock)  # it has been removed before it was locked
    raise _refusal("directories there are removed as fast as they are made")


def _remove_if_free(path: Path) -> bool:
    lock = _lock(path, fcntl.LOCK_EX)
    if lock is None:
        return False
    try:
        process_guard.remove(path)
    finally:
        os.close(lock)
    return True


def _lock(path: Path, operation: int) -> int | None:
    """Lock a directory of this user; None if it is none, or if others hold its lock."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None  # a file, a link, another user's, or gone
    try:
        found = os.fstat(lock)
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            fcntl.flock(lock, operation | fcntl.LOCK_NB)
            return lock
    except BlockingIOError:
        pass
    os.close(lock)
    return None


def _refusal(reason: str) -> ServerError:
    return ServerError(
        f"{process_guard.SHARED_MEMORY}, through which Triton's processes pass tensors, "
        f"cannot be used: {reason}",
        hint="in a container: run it with --shm-size 1g",
    )
