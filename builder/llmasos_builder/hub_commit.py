"""Finds the current commit of a hub repository's branch or tag.

The hub is asked first. If it cannot be reached, the commit in the hub's own cache counts, and
after that the one that was last built, since the cache may have been emptied.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmasos.cache import cache_dir, make_directory
from llmasos.errors import CheckpointError
from llmasos.files.regular_file import read_regular
from llmasos.huggingface import prepare_huggingface

_MAX_NOTE_BYTES = 1024
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DEFAULT_BRANCH = "main"
_TIMEOUT_S = 10.0


def commit_of(repository: str, revision: str | None) -> str | None:
    """Returns its 40 digits; None if unknown. revision: a branch, tag or commit."""
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    note = _note(repository, revision or _DEFAULT_BRANCH)
    commit = _on_the_hub(repository, revision) or _in_the_hubs_cache(repository, revision)
    if commit is None:
        return _read(note)
    if commit != _read(note):
        with suppress(OSError):  # a cache that is only read
            make_directory(note.parent)
            note.write_text(commit)
    return commit


def _on_the_hub(repository: str, revision: str | None) -> str | None:
    prepare_huggingface()
    from huggingface_hub import constants  # noqa: PLC0415 - a built engine does without

    if constants.HF_HUB_OFFLINE:
        return None
    # These bring an HTTP client along.
    from huggingface_hub import HfApi  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415

    # The HTTP library's own errors, whichever library this version of huggingface_hub uses.
    http_errors: tuple[Any, ...] = HfHubHTTPError.__bases__
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="llmasos")
    try:
        return api.model_info(repository, revision=revision, timeout=_TIMEOUT_S).sha
    except (HFValidationError, OSError, *http_errors):
        return None  # a download says what is wrong; what is built already needs none


def _in_the_hubs_cache(repository: str, revision: str | None) -> str | None:
    from huggingface_hub import constants  # noqa: PLC0415

    folder = Path(constants.HF_HUB_CACHE, f"models--{repository.replace('/', '--')}")
    return _read(folder / "refs" / (revision or _DEFAULT_BRANCH))


def _note(repository: str, revision: str) -> Path:
    name = hashlib.sha256(f"{repository}\n{revision}".encode()).hexdigest()[:16]
    return cache_dir() / "commits" / name


def _read(file: Path) -> str | None:
    try:
        text = read_regular(file, at_most=_MAX_NOTE_BYTES).decode().strip()
    except (CheckpointError, UnicodeDecodeError):
        return None
    return text if _COMMIT.fullmatch(text) else None
