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
    """Beside the plan, or in the user's cache where that cannot be written.

    TensorRT-RTX refuses what another version or GPU left, and it is then written anew. The
    data-centre TensorRT compiles nothing at run time, and has no such cache.
    """

    def __init__(self, plan_dir: Path) -> None:
        self._path = place(plan_dir)
        self._cache: Any = None
        self._maker: Any = None
        self._known = b""

    def give_to(self, config: Any) -> None:
        """Let the context that is made with this IRuntimeConfig read and fill it; all share one."""
        if self._cache is None and hasattr(config, "create_runtime_cache"):
            self._cache, self._maker = self._read(config), config
        if self._cache is not None and not config.set_runtime_cache(self._cache):
            _log.warning("TensorRT does not take %s", FILE)

    def _read(self, config: Any) -> Any:
        cache = config.create_runtime_cache()
        try:
            self._known = self._path.read_bytes()
        except OSError:
            self._known = b""
        if self._known and not cache.deserialize(self._known):
            _log.info("%s is of another GPU or version, it is made anew", self._path)
        return cache

    def save(self) -> None:
        """Write what is new. A disk that is full is no reason to fail."""
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
    """Where the cache of a plan is kept."""
    if os.access(plan_dir, os.W_OK):
        return plan_dir / FILE
    name = hashlib.sha256(str(plan_dir.resolve()).encode()).hexdigest()[:16]
    return cache_dir() / "runtime-caches" / name / FILE
