"""A running tritonserver and the keeper that ends with it."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import psutil
from llmasos.errors import ServerError

from llmasos_runtime.triton import keeper
from llmasos_runtime.triton.command import server_command
from llmasos_runtime.triton.installation import find_installation
from llmasos_runtime.triton.options import ServerOptions
from llmasos_runtime.triton.ports import Ports
from llmasos_runtime.triton.server_log import ServerLog

_SHM_PREFIX = "llmasos"
_STARTS_WITHIN_S = 10.0


class ServerProcess:
    """Started by its constructor; `stop` or the end of this process ends it.

    Raises ServerError when there is no server to start, or a port is taken.
    """

    def __init__(self, repository: Path, options: ServerOptions) -> None:
        self.ports = Ports.choose(options)
        self._stopping = threading.Lock()
        run_dir = Path(tempfile.mkdtemp(prefix="llmasos-server-"))
        try:
            installation = find_installation(run_dir)
            log_file = options.log_file or run_dir / "server.log"
            log_file.touch()
        except BaseException:
            shutil.rmtree(run_dir)
            raise
        self.log = ServerLog(log_file)
        _remove_leftovers()
        shm_prefix = f"{_SHM_PREFIX}-{os.getpid()}-{secrets.token_hex(4)}-"
        command = server_command(installation, repository, options, self.ports, shm_prefix)
        guard = [sys.executable, "-I", "-S", str(keeper.__file__)]
        with log_file.open("ab") as log:
            self._keeper = subprocess.Popen(
                [*guard, str(run_dir), shm_prefix, str(options.drain_s), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **installation.environment, **options.engine_environment()},
                start_new_session=True,
                text=True,
            )
        self.pid = self._read_pid()

    def poll(self) -> int | None:
        """The status that the server ended with, or None while it runs."""
        return self._keeper.poll()

    def stop(self, *, drain: bool = True) -> None:
        """End the server and wait until nothing of it is left; `drain` lets requests finish.

        May be called again, and from any thread; the log stays readable until `close`.
        """
        assert self._keeper.stdin is not None
        with self._stopping, suppress(BrokenPipeError):  # broken: it has ended already
            if not self._keeper.stdin.closed:
                if not drain:
                    self._keeper.stdin.write("kill\n")
                self._keeper.stdin.close()
        self._keeper.wait()

    def close(self) -> None:
        """Let go of the log of a server that has ended."""
        assert self._keeper.stdout is not None
        self._keeper.stdout.close()
        self.log.close()

    def _read_pid(self) -> int:
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline().strip()
        if not line.isdecimal():
            self.stop(drain=False)
            reason = self.log.reason()
            self.close()
            raise ServerError(f"tritonserver could not be started: {reason}")
        return int(line)


def _remove_leftovers() -> None:
    """Remove shared memory of servers whose launcher and keeper were both killed."""
    for region in keeper.SHARED_MEMORY.glob(f"{_SHM_PREFIX}-*"):
        pid = region.name.split("-")[1]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            region.unlink(missing_ok=True)
