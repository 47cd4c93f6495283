"""Kernels that TensorRT-RTX compiled for this GPU, kept on disk for the next start."""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmasos.cache import cache_dir

_log = logging.getLogger(__name__)
FILE = "engine.runtime-cache"


class RuntimeCache:
    """A file beside the plan, or in the user's cache if that directory cannot be written.

    TensorRT-RTX rejects the cache of another version or GPU, which is then rewritten. The
    data-centre TensorRT compiles nothing at run time and has no such cache.
    """

    def __init__(self, plan_dir: Path) -> None:
        self._path = place(plan_dir)
        self._cache: Any = None
        self._maker: Any = None
        self._known = b""

    def give_to(self, config: Any) -> None:
        """Lets the context made with this IRuntimeConfig read and fill the cache; all contexts
        share it.
        """
        if self._cache is None and hasattr(config, "create_runtime_cache"):
            self._cache, self._maker = self._read(config), config
        if self._cache is not None and not config.set_runtime_cache(self._cache):
            _log.warning("TensorRT does not accept %s", FILE)

    def _read(self, config: Any) -> Any:
        cache = config.create_runtime_cache()
        try:
            self._known = self._path.read_bytes()
        except OSError:
            self._known = b""
        if self._known and not cache.deserialize(self._known):
            _log.info("%s is from another GPU or version and is made again", self._path)
        return cache

    def save(self) -> None:
        """Writes new kernels to the file. A full disk is not an error."""
        if self._cache is None:
            return
        blob, self._cache, self._maker = self._cache.serialize(), None, None
        if blob is None:  # as after a GPU has failed
            _log.warning("TensorRT does not give its compiled kernels: %s is not written", FILE)
            return
        content = bytes(memoryview(blob))
        if content == self._known:
            return
        part = self._path.with_name(f".{FILE}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            part.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            _log.warning("%s cannot be written: %s", self._path, error.strerror)


def place(plan_dir: Path) -> Path:
    """The place of a plan's cache."""
    if os.access(plan_dir, os.W_OK):
        return plan_dir / FILE
    name = hashlib.sha256(str(plan_dir.resolve()).encode()).hexdigest()[:16]
    return cache_dir() / "runtime-caches" / name / FILE
