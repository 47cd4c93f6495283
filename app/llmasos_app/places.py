"""The directories that LLMasOS writes to, and whether it can.

Each is tried as whoever needs it does: a file is made, locked and removed where the cache is or
will be, and a server's own directory in shared memory.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from llmasos.byte_size import format_bytes
from llmasos.cache import cache_dir, home_dir
from llmasos.errors import PlanError, ServerError
from llmasos.files.disk import free_bytes
from llmasos_serving.triton import process_guard
from llmasos_serving.triton.run_directory import RunDirectory

from llmasos_app.finding import Finding

MIN_FREE_BYTES = 1 << 30
"""Less than this holds few engines."""
_CACHE_HINT = "let LLMASOS_CACHE name a directory that can be written"


def places() -> list[Finding]:
    """The home directory, the cache, the directory for temporary files and shared memory."""
    return [_home(), _cache(), _temporary(), _shared_memory()]


def _home() -> Finding:
    home = home_dir()
    if home is None:
        return Finding(subject="home", text="none; LLMASOS_CACHE says where the cache is")
    can = "" if os.access(home, os.W_OK) else ", which cannot be written"
    return Finding(subject="home", text=f"{home}{can}")


def _cache() -> Finding:
    try:
        place = cache_dir()
    except PlanError as error:
        return Finding(subject="cache", text=str(error), is_problem=True)
    nearest = next(path for path in (place, *place.parents) if os.path.lexists(path))
    trouble = _trouble(nearest)
    if trouble is not None:
        text = f"{place}: {trouble}; {_CACHE_HINT}"
        return Finding(subject="cache", text=text, is_problem=True)
    made = "" if place.exists() else ", which is made when it is needed"
    return _with_room("cache", place, f"{place}{made}", _CACHE_HINT)


def _temporary() -> Finding:
    subject, hint = "temporary files", "let TMPDIR name a directory that can be written"
    try:
        place = Path(tempfile.gettempdir())
    except OSError as error:
        return Finding(subject=subject, text=f"{error.strerror}; {hint}", is_problem=True)
    trouble = _trouble(place)
    if trouble is not None:
        return Finding(subject=subject, text=f"{place}: {trouble}; {hint}", is_problem=True)
    return Finding(subject=subject, text=f"{place}, {_free(place)}")


def _shared_memory() -> Finding:
    try:
        directory = RunDirectory()
    except ServerError as error:
        return Finding(subject="shared memory", text=str(error), is_problem=True)
    directory.close()
    directory.remove_if_free()
    place = process_guard.SHARED_MEMORY
    return Finding(subject="shared memory", text=f"{place}, {_free(place)}")


def _with_room(subject: str, place: Path, text: str, hint: str) -> Finding:
    free = free_bytes(place)
    if free is not None and free < MIN_FREE_BYTES:
        text = f"{place} has {_free(place)}, which few engines fit into; {hint}"
        return Finding(subject=subject, text=text, is_problem=True)
    return Finding(subject=subject, text=f"{text}, {_free(place)}")


def _free(place: Path) -> str:
    free = free_bytes(place)
    return "no bound" if free is None else f"{format_bytes(free)} free"


def _trouble(directory: Path) -> str | None:
    """What keeps a file from being made and locked there."""
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                return f"files in {directory} cannot be locked: {error.strerror}"
    except OSError as error:
        return f"{directory} cannot be written: {error.strerror}"
    return None
