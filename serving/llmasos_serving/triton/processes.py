"""The Python processes of a running server, one for each model that is written in Python.

Triton never restarts one that died, and goes on saying that it is healthy; for one that died
before it said anything it waits for ever. So we look.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_STUB = "triton_python_backend_stub"
_SERVER = "tritonserver"
_KILLED_WITHIN_S = 5.0
_LOOK_S = 1.0
_TRITON_SAYS_SO_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProcess:
    """model: the name of the model that it runs; empty for tritonserver itself.

    said: as errors name it; by default after the model.
    """

    model: str
    process: psutil.Process
    said: str = ""

    @property
    def name(self) -> str:
        if self.said:
            return self.said
        return f"the process of the model {self.model}" if self.model else "tritonserver"

    def is_alive(self) -> bool:
        """Whether it runs; a process that ended but was not waited for does not."""
        return bool(self.process.is_running()) and self._status() != str(psutil.STATUS_ZOMBIE)

    def is_stopped(self) -> bool:
        """Whether a signal keeps it from running until another lets it go on."""
        return self._status() == str(psutil.STATUS_STOPPED)

    def is_reading(self) -> bool:
        """Whether it waits for a disk just now."""
        return self._status() == str(psutil.STATUS_DISK_SLEEP)

    def cpu_s(self) -> float:
        """Seconds of a processor that it has used; 0 when it has ended."""
        try:
            times = self.process.cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return float(times.user + times.system)

    def _status(self) -> str:
        try:
            return str(self.process.status())
        except psutil.NoSuchProcess:
            return str(psutil.STATUS_ZOMBIE)


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


def server_processes(server_pid: int) -> list[ModelProcess]:
    """The same, and that of the server itself."""
    with suppress(psutil.NoSuchProcess):
        server = ModelProcess(model="", process=psutil.Process(server_pid))
        return [server, *model_processes(server_pid)]
    return []


def end_orphans(run_dir: Path) -> None:
    """Kills the processes of models whose server, that of this directory, was killed.

    They end by themselves, but for one that was just telling Triton something, such as its metrics:
    that waits for an answer for ever, and lets none of its other threads run.
    """
    with suppress(psutil.Error):
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                command = process.cmdline()
                if command and Path(command[0]) == run_dir / "backends" / "python" / _STUB:
                    parent = process.parent()
                    if parent is None or parent.name() != _SERVER:
                        process.kill()
                        process.wait(_KILLED_WITHIN_S)


class LoadingProcesses:
    """Those of a server that loads its models."""

    def __init__(self, server_pid: int) -> None:
        self._server_pid = server_pid
        self._next_look = 0.0
        self._lost_since: float | None = None

    def lost_one(self) -> bool:
        """Whether one ended so long ago that Triton, if it had noticed, would have said so."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_S
            if not _has_ended_child(self._server_pid):
                self._lost_since = None
            elif self._lost_since is None:
                self._lost_since = now
        return self._lost_since is not None and now - self._lost_since > _TRITON_SAYS_SO_WITHIN_S


def _has_ended_child(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children():
            with suppress(psutil.NoSuchProcess):
                if process.status() == psutil.STATUS_ZOMBIE:
                    return True
    return False
