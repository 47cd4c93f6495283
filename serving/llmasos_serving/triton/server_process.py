"""A running tritonserver and the guard that ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from weakref import WeakSet

import psutil

from llmasos_serving.triton import process_guard
from llmasos_serving.triton.command import server_command
from llmasos_serving.triton.installation import find_installation
from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.ports import Ports
from llmasos_serving.triton.processes import ModelProcess
from llmasos_serving.triton.repositories.linked_repository import link_models
from llmasos_serving.triton.repositories.served_models import PlacedModel
from llmasos_serving.triton.run_directory import RunDirectory, remove_leftovers
from llmasos_serving.triton.server_log import ServerLog

_ENDS_WITHIN_S = 10.0
_POLL_S = 0.02


class ServerProcess:
    """Started by its constructor; `stop` or the end of this process ends it.

    Raises ServerError when there is no server to start, or a port is taken.
    """

    def __init__(self, models: Sequence[PlacedModel], options: ServerOptions) -> None:
        self.ports = Ports.choose(options)
        self._stopping = threading.Lock()
        self._drain_s = options.drain_s
        self._group: int | None = None
        remove_leftovers()
        self.log = ServerLog(options.log_file)
        try:
            self._run_dir = RunDirectory()
            self._guard = self._start(models, options)
            _STARTED.add(self)
            self.pid = self._group = self._read_pid()
        except BaseException:
            self.log.close()
            raise

    def poll(self) -> int | None:
        """The status that the server ended with (128 and a signal's number), None while it runs."""
        status = self._guard.poll()
        return status if status is None or status >= 0 else 128 - status

    def guard_process(self) -> ModelProcess:
        """The guard, to be watched."""
        return ModelProcess(
            model="", process=psutil.Process(self._guard.pid), said="the guard of tritonserver"
        )

    def stop(self, *, drain: bool = True) -> None:
        """End the server and wait until nothing of it is left; `drain` lets requests finish.

        May be called again, and from any thread; the log stays readable until `close`.
        """
        assert self._guard.stdin is not None
        with self._stopping, suppress(BrokenPipeError):  # broken: it has ended already
            if not self._guard.stdin.closed:
                if not drain:
                    self._drain_s = 0
                    self._guard.stdin.write("kill\n")
                self._guard.stdin.close()
        if self._wait_for_guard() < 0:
            self._clean_up()

    def _wait_for_guard(self) -> int:
        """Its status; one that does not end the server in time is killed."""
        self._guard.send_signal(signal.SIGCONT)
        try:
            return self._guard.wait(self._drain_s + _ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            return self._guard.wait()

    def close(self) -> None:
        """Let go of the log of a server that has ended."""
        assert self._guard.stdout is not None
        self._guard.stdout.close()
        self.log.close()

    def leave_to_parent(self) -> None:
        """In a forked process: let go of the pipe whose end tells the guard to end the server."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()

    def _start(
        self, models: Sequence[PlacedModel], options: ServerOptions
    ) -> subprocess.Popen[str]:
        run_dir = self._run_dir
        try:
            installation = find_installation(run_dir.path)
            self._hold = installation.hold
            links = link_models(models, run_dir.path, self.log, classic_names=options.classic_names)
            command = server_command(installation, links, options, self.ports, run_dir.shm_prefix)
            guard = [sys.executable, "-I", "-S", str(process_guard.__file__)]
            return subprocess.Popen(
                [*guard, str(run_dir.path), str(run_dir.lock), str(options.drain_s), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.log.stream,
                env={**_inherited(), **installation.environment, **options.engine_environment()},
                start_new_session=True,
                pass_fds=(run_dir.lock,),
                text=True,
            )
        except BaseException:
            process_guard.remove(run_dir.path)
            raise
        finally:
            run_dir.close()

    def _read_pid(self) -> int:
        assert self._guard.stdout is not None
        line = self._guard.stdout.readline().strip()
        if not line.isdecimal():
            self.stop(drain=False)
            self._guard.stdout.close()
            raise self.log.error("tritonserver could not be started")
        return int(line)

    def _clean_up(self) -> None:
        """What a guard does that was killed: end what the server started, and remove its files.

        A lock that is held is held by a process of the server's group: its number is not yet
        another's.
        """
        ends_at = time.monotonic() + _ENDS_WITHIN_S
        while not self._run_dir.remove_if_free() and time.monotonic() < ends_at:
            if self._group is not None:
                with suppress(ProcessLookupError):  # they have ended since
                    os.killpg(self._group, signal.SIGKILL)
            time.sleep(_POLL_S)


def _inherited() -> dict[str, str]:
    """This environment, without what the shell that starts Triton's Python processes would run."""
    options = ("SHELLOPTS", "BASHOPTS")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BASH_") and name not in options
    }


_STARTED: WeakSet[ServerProcess] = WeakSet()


def _leave_to_parent() -> None:
    for process in list(_STARTED):
        process.leave_to_parent()


os.register_at_fork(after_in_child=_leave_to_parent)
