"""Serve a repository in the foreground: until it is told to stop, or its engine dies."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from llmasos.errors import ServerError

from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.server import TritonServer

_RESTART_S = 1.0
"""Between the end of a server and the start of the next: one that cannot run must not spin."""

__all__ = ["ServerOptions", "TritonServer", "serve"]


def serve(repository: Path | str, options: ServerOptions | None = None) -> int:
    """Serve until SIGINT or SIGTERM; the exit status is 0 then, and 1 when the server died.

    Raises PlanError or ServerError for what is wrong before anything is started.
    """
    stopping = threading.Event()
    is_ready = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's form
        stopping.set()
        if not is_ready.is_set():
            raise KeyboardInterrupt  # loading is not waited for

    previous = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        while _serve_once(repository, options or ServerOptions(), stopping, is_ready):
            _say("starting again")
            is_ready.clear()
        return 0 if stopping.is_set() else 1
    except KeyboardInterrupt:
        return 0
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _serve_once(
    repository: Path | str,
    options: ServerOptions,
    stopping: threading.Event,
    is_ready: threading.Event,
) -> bool:
    """Start one server and wait for its end; whether another shall be started."""
    started = time.monotonic()
    with TritonServer(repository, options, progress=_Stages()) as server:
        is_ready.set()
        _say(f"ready in {time.monotonic() - started:.1f} s: {server.grpc_url}")
        _say(f"HTTP {server.http_url}, metrics {server.metrics_url}; Ctrl-C stops it")
        try:
            server.wait(stopping)
        except ServerError as error:
            _say(f"{server.log_tail()}\nerror: {error}")
            return options.restart and not stopping.wait(_RESTART_S)
        _say("stopping")
    return False


class _Stages:
    """Prints how many models are loaded, once for each number."""

    def __init__(self) -> None:
        self._last = -1

    def __call__(self, stage: str, done: int, total: int) -> None:
        if done != self._last:
            self._last = done
            _say(f"{stage}: {done} of {total}")


def _say(message: str) -> None:
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
