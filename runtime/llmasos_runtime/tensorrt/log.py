"""What TensorRT says while an engine is loaded and runs: it raises little and logs the rest."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

_LOGGER = logging.getLogger("llmasos.tensorrt")


@cache
def shared_log(library: Any) -> Any:
    """The process's ILogger for this library; errors: its messages of that severity.

    TensorRT keeps the first logger that a process gives it, so there is one.
    """
    severities = library.ILogger.Severity
    levels = {
        severities.INTERNAL_ERROR: logging.ERROR,
        severities.ERROR: logging.ERROR,
        severities.WARNING: logging.WARNING,
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


def last_error(library: Any) -> str:
    """What TensorRT said last was wrong, in one line."""
    errors = shared_log(library).errors
    return " ".join(errors[-1].split()) if errors else "it does not say why"
