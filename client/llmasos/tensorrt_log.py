"""What TensorRT says while it compiles, loads and runs: it raises little and logs the rest.

It keeps the first logger that a process gives it. So there is one, for whoever compiles and
for whoever runs, which remembers the errors, and the one thing that TensorRT tells nowhere else
without a GPU.
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
    """The process's ILogger for this library; errors: its messages of that severity;
    scratch_bytes: of each optimization profile that was compiled, what lies between its layers.
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
    """What TensorRT said last was wrong, in one line."""
    errors = shared_log(library).errors
    return " ".join(errors[-1].split()) if errors else "it does not say why"
