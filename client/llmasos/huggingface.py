"""What Hugging Face's libraries must be told before they are imported, by environment variables.

They report nothing, and where their usual place under the home directory cannot be, they keep
what they download in our cache: without a home directory it would be ./~/.cache.
"""

from __future__ import annotations

import os
from pathlib import Path

from llmasos.cache import cache_dir, can_be_used, home_dir, make_directory
from llmasos.usage_reports import turn_off_usage_reports


def prepare_huggingface() -> None:
    """What the user has set stays. Raises PlanError where there is no place for a cache."""
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
