"""Keeps compiled machine code in the user's cache, since compiling takes ten seconds.

An object file is known by all that it depends on: the shape, the kind of processor, the sources of
this package, and the versions of the compilers. Engines of the same shape share it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import tempfile
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path

from llmasos.cache import cache_dir, make_directory
from llmasos.engine import native_engine
from llmasos.errors import LLMasOSError

from llmasos_builder.native.shape import StepShape

FOLDER = "native-code"
_log = logging.getLogger("llmasos.build")


def step_code(shape: StepShape, kind: str) -> bytes:
    """Returns the object file of the step, compiled unless it is in the cache.

    A cache that cannot be read or written is left alone.
    """
    try:
        kept = cache_dir() / FOLDER / f"{_key(shape, kind)}.o"
        if kept.is_file():
            return kept.read_bytes()
    except (OSError, LLMasOSError) as error:
        _log.debug("no machine code from the cache: %s", error)
        return _compiled(shape, kind)
    content = _compiled(shape, kind)
    with suppress(OSError, LLMasOSError):
        _keep(content, kept)
    return content


def _compiled(shape: StepShape, kind: str) -> bytes:
    # numba takes a second to import.
    from llmasos_builder.native.machine_code import compile_step  # noqa: PLC0415

    return compile_step(shape, kind)


def _keep(content: bytes, path: Path) -> None:
    """Writes a file that appears complete."""
    make_directory(path.parent)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).rename(path)


def _key(shape: StepShape, kind: str) -> str:
    facts = [
        asdict(shape),
        kind,
        _sources(),
        platform.python_version(),
        *map(version, ("numba", "llvmlite", "numpy")),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@cache
def _sources() -> str:
    """Returns the hash of every module that the machine code is made of."""
    digest = hashlib.sha256(Path(native_engine.__file__).read_bytes())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
