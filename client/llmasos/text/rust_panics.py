"""Turns a panic of a Rust library into an error of ours.

`tokenizers` panics in some cases, for example when a pattern backtracks too often on a text.
Python sees a panic as an exception that is not an `Exception`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from llmasos.errors import LLMasOSError

_MODULE, _NAME = "pyo3_runtime", "PanicException"


@contextmanager
def panics_as(error: type[LLMasOSError], message: str) -> Generator[None]:
    """Raises `error` in place of a panic, with this message and the panic's own."""
    try:
        yield
    except BaseException as problem:
        if (type(problem).__module__, type(problem).__name__) != (_MODULE, _NAME):
            raise
        raise error(f"{message}: {problem}") from problem
