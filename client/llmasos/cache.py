"""The directory where LLMasOS keeps what it downloads and builds.

It is the first of: ``LLMASOS_CACHE``, ``XDG_CACHE_HOME/llmasos``, ``~/.cache/llmasos``, or,
without a writable home directory, a private one under the directory for temporary files.
Deleting it is always safe: everything in it can be made again.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from functools import cache
from pathlib import Path

from llmasos.errors import PlanError

_HINT = "let LLMASOS_CACHE name a directory"
_log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """The root of the cache; it may not exist yet.

    Raises PlanError if the only place left is a directory that belongs to somebody else.
    """
    chosen = os.environ.get("LLMASOS_CACHE")
    if chosen:
        return expanded(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    if base and os.path.isabs(base):  # noqa: PTH117 - others are to be ignored, says its standard
        return Path(base) / "llmasos"
    home = home_dir()
    usual = None if home is None else home / ".cache" / "llmasos"
    if usual is not None and can_be_used(usual):
        return usual
    place = temporary_cache_dir()
    _check_private(place)
    return place


def home_dir() -> Path | None:
    """The user's home directory, if there is one."""
    if os.environ.get("HOME") == "":  # which would be taken for /
        return None
    home = expanded("~")
    return home if home.is_absolute() and home.is_dir() else None


def temporary_cache_dir() -> Path:
    """The private cache directory to use when there is no other place for it."""
    try:
        return Path(tempfile.gettempdir(), f"llmasos-{os.getuid()}")
    except OSError as error:
        raise PlanError(f"there is no place for the cache: {error.strerror}", hint=_HINT) from error


def make_directory(directory: Path) -> None:
    """Make a directory in the cache, and the cache if need be; raises OSError, PlanError."""
    if "LLMASOS_CACHE" not in os.environ:  # the place was not chosen
        temporary = temporary_cache_dir()
        if directory.is_relative_to(temporary):
            temporary.mkdir(mode=0o700, exist_ok=True)
            _check_private(temporary)
            _say_where(temporary)
    directory.mkdir(parents=True, exist_ok=True)


def can_be_used(place: Path) -> bool:
    """True if the place exists or can be made. A read-only cache still serves the engines in it."""
    nearest = next(path for path in (place, *place.parents) if path.exists())
    return nearest == place or (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK))


def expanded(path: str | Path) -> Path:
    """Replaces a leading ~ if the home directory that it stands for is known."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own fails for an unknown user


def checkpoints_dir() -> Path:
    """The directory of downloaded checkpoints."""
    return cache_dir() / "checkpoints"


def engines_dir() -> Path:
    """The directory of built model repositories: one for each checkpoint and set of options."""
    return cache_dir() / "engines"


def reports_dir() -> Path:
    """The directory of what `llmasos report` has measured."""
    return cache_dir() / "reports"


def server_environments_dir() -> Path:
    """Python environments for the Triton server, used where the user's own Python is too new for
    it.
    """
    return cache_dir() / "server-env"


def _check_private(place: Path) -> None:
    """Refuses a directory that others may write: they could put their own engines there."""
    try:
        found = place.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise PlanError(f"{place} cannot be used: {error.strerror}", hint=_HINT) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PlanError(
            f"there is no writable home directory, and {place} is not a directory that you alone "
            "may use",
            hint=_HINT,
        )


@cache
def _say_where(place: Path) -> None:
    _log.warning(
        "there is no writable home directory: engines are kept in %s until LLMASOS_CACHE names "
        "another directory",
        place,
    )
