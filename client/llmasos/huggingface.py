"""Environment variables that Hugging Face's libraries must see before they are imported.

They turn off usage reports and, where there is no usable home directory, keep downloads in our
cache; otherwise they would land in ./~/.cache.
"""

from __future__ import annotations

import os
from pathlib import Path

from llmasos.cache import cache_dir, can_be_used, home_dir, make_directory
from llmasos.usage_reports import turn_off_usage_reports


def prepare_huggingface() -> None:
    """Sets the variables that the user has not set. Raises PlanError if no cache can be made."""
    turn_off_usage_reports()
    if os.environ.get("HF_HOME") or os.environ.get("XDG_CACHE_HOME"):
        return
    home = home_dir()
    if home is None or not can_be_used(home / ".cache" / "huggingface"):
        place = cache_dir() / "huggingface"
        _make(place)
        os.environ["HF_HOME"] = str(place)


def _make(place: Path) -> None:
    try:
        make_directory(place)
    except OSError:
        return  # whoever downloads says why that cannot be; nothing else needs it
