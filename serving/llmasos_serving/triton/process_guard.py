"""A small process between the launcher and tritonserver, so that nothing outlives the launcher.

It runs as a script without any package. Its stdin is a pipe from the launcher: when that
closes, because the launcher asks for it or was killed, the server is told to end, is given
time, and is killed with all its processes. Whatever way the server ends, its shared memory
and its directory are removed. The line "kill" on stdin skips the time.

argv: RUN_DIR LOCK DRAIN_S COMMAND...   stdout: the server's process id, one line.
LOCK is a descriptor that this process and the server hold as long as they live.
Exits as the server did: with its status, or 128 and the number of the signal.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG = 1
SHARED_MEMORY = Path("/dev/shm")
OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
_GRACE_S = 2.0
_STACK_BYTES = 1 << 30
"""Of each thread of the server; memory is taken for what is used alone. Triton's HTTP front end
keeps a form's body on the stack, and reads nested JSON by recursion: with the usual 8 MB a body
of some megabytes ended the server."""


def main(arguments: list[str]) -> int:
    run_dir, lock, drain_s, *command = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        start_new_session=True,
        pass_fds=(int(lock),),
        preexec_fn=_prepare,  # noqa: PLW1509 - safe: this process has one thread
    )

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's form
        _ask_to_end(server, float(drain_s))

    signal.signal(signal.SIGTERM, end)
    sys.stdout.write(f"{server.pid}\n")
    sys.stdout.flush()
    threading.Thread(target=_obey, args=(server, float(drain_s)), daemon=True).start()
    status = server.wait()
    _kill_group(server)
    remove(Path(run_dir))
    return status if status >= 0 else 128 - status


def remove(run_dir: Path) -> None:
    """Remove a server's directory, and the regions beside it, whose names begin with its own."""
    for region in run_dir.parent.glob(f"{run_dir.name}-*"):
        with suppress(FileNotFoundError, PermissionError):  # gone, or not ours
            region.unlink()
    shutil.rmtree(run_dir, ignore_errors=True)


def _obey(server: subprocess.Popen[bytes], drain_s: float) -> None:
    for line in sys.stdin:
        if line.strip() == "kill":
            _kill_group(server)
            return
    _ask_to_end(server, drain_s)


def _ask_to_end(server: subprocess.Popen[bytes], drain_s: float) -> None:
    server.terminate()
    timer = threading.Timer(drain_s + _GRACE_S, _kill_group, (server,))
    timer.daemon = True
    timer.start()


def _kill_group(server: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # all have gone


def _prepare() -> None:
    """What the server's process is told before it becomes tritonserver."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    usual, most = resource.getrlimit(resource.RLIMIT_STACK)
    if _has_address_space():
        size = _STACK_BYTES if most == resource.RLIM_INFINITY else min(_STACK_BYTES, most)
        resource.setrlimit(resource.RLIMIT_STACK, (max(size, usual), most))


def _has_address_space() -> bool:
    """Whether a stack may be far larger than what is used of it."""
    try:
        is_strict = OVERCOMMIT.read_text().strip() == "2"
    except OSError:
        is_strict = True  # unknown
    return not is_strict and resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
