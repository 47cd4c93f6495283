"""Where LLMasOS keeps what it downloads and builds.

One directory, the first of: ``LLMASOS_CACHE``, ``XDG_CACHE_HOME/llmasos``,
``~/.cache/llmasos``. Deleting it is always safe: everything in it comes back.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """The root of the cache; it may not exist yet."""
    chosen = os.environ.get("LLMASOS_CACHE")
    if chosen:
        return expanded(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "llmasos"


def expanded(path: str | Path) -> Path:
    """With ~ replaced where it stands for a home directory that is known."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own fails for an unknown user


def checkpoints_dir() -> Path:
    """Downloaded checkpoints."""
    return cache_dir() / "checkpoints"


def engines_dir() -> Path:
    """Built model repositories, one directory for each checkpoint and set of options."""
    return cache_dir() / "engines"


def server_environments_dir() -> Path:
    """Python environments for the Triton server, where the user's own is too new for it."""
    return cache_dir() / "server-env"
