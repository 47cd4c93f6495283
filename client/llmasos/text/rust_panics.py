"""A panic of a library in Rust, as an error of ours.

`tokenizers` panics where it was not written to fail, such as for a pattern that backtracks too
often on a text. Python sees that as an exception that is not an `Exception`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from llmasos.errors import LLMasOSError

_MODULE, _NAME = "pyo3_runtime", "PanicException"


@contextmanager
def panics_as(error: type[LLMasOSError], message: str) -> Generator[None]:
    """Raise error, with this message and what the panic says, in place of a panic."""
    try:
        yield
    except BaseException as problem:
        if (type(problem).__module__, type(problem).__name__) != (_MODULE, _NAME):
            raise
        raise error(f"{message}: {problem}") from problem
