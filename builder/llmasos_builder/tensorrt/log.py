"""What TensorRT says while it compiles.

It raises nothing and logs what is wrong, and it keeps the first logger that a process gives it. So
there is one, which remembers the errors.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

_LOGGER = logging.getLogger("llmasos.tensorrt")


@cache
def shared_log(library: Any) -> Any:
    """The process's ILogger for this library; errors: its messages of that severity."""
    levels = {
        library.ILogger.Severity.INTERNAL_ERROR: logging.ERROR,
        library.ILogger.Severity.ERROR: logging.ERROR,
        library.ILogger.Severity.WARNING: logging.INFO,
    }

    class Log(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            if level == logging.ERROR:
                self.errors.append(message)
            _LOGGER.log(min(level, logging.INFO), "%s", message)

    return Log()
