"""TensorRT's messages while it compiles, loads and runs: it raises little and logs the rest.

It keeps the first logger that a process gives it. So compiler and runtime share one, which
remembers errors and the scratch memory, which TensorRT reports nowhere else without a GPU.
"""

from __future__ import annotations

import logging
import re
from functools import cache
from typing import Any

_LOGGER = logging.getLogger("llmasos.tensorrt")
_SCRATCH = re.compile(r"Total Activation Memory: (\d+) bytes")


@cache
def shared_log(library: Any) -> Any:
    """The process's ILogger for this library.

    errors: its messages of severity error. scratch_bytes: for each optimization profile that was
    compiled, the memory for activations.
    """
    severities = library.ILogger.Severity
    errors = (severities.INTERNAL_ERROR, severities.ERROR)
    told = (*errors, severities.WARNING)

    class Log(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.errors: list[str] = []
            self.scratch_bytes: list[int] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in errors:
                self.errors.append(message)
            if found := _SCRATCH.match(message):
                self.scratch_bytes.append(int(found[1]))
            _LOGGER.log(logging.INFO if severity in told else logging.DEBUG, "%s", message)

    return Log()


def last_error(library: Any) -> str:
    """The last error that TensorRT logged, in one line."""
    errors = shared_log(library).errors
    return " ".join(errors[-1].split()) if errors else "it does not say why"
