"""The Python processes of a running server, one for each model that is written in Python.

Triton never restarts one that died, and goes on saying that it is healthy. So we look.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_STUB = "triton_python_backend_stub"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProcess:
    """model: the name of the model that it runs."""

    model: str
    process: psutil.Process

    def is_alive(self) -> bool:
        """Whether it runs; a process that ended but was not waited for does not."""
        try:
            return bool(self.process.is_running()) and (
                self.process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return False


def model_processes(server_pid: int) -> list[ModelProcess]:
    """The processes that run the models of a server; one that has ended is none."""
    found: list[ModelProcess] = []
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(server_pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                command = process.cmdline()
                if len(command) > 1 and Path(command[0]).name == _STUB:
                    model_file = Path(command[1])  # in MODEL/VERSION
                    found.append(ModelProcess(model=model_file.parents[1].name, process=process))
    return found
