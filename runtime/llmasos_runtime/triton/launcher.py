"""Serve a repository in the foreground: until it is told to stop, or its engine dies."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from llmasos.errors import ServerError

from llmasos_runtime.triton.options import ServerOptions
from llmasos_runtime.triton.server import TritonServer

__all__ = ["ServerOptions", "TritonServer", "serve"]


def serve(repository: Path | str, options: ServerOptions | None = None) -> int:
    """Serve until SIGINT or SIGTERM; the exit status is 0 then, and 1 when the server died."""
    options = options or ServerOptions()
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's form
        stopping.set()

    previous = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _serve_until(stopping, repository, options)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _serve_until(stopping: threading.Event, repository: Path | str, options: ServerOptions) -> int:
    while True:
        started = time.monotonic()
        server = TritonServer(repository, options, progress=_Stages())
        try:
            with server:
                _say(f"ready in {time.monotonic() - started:.1f} s: {server.grpc_url}")
                _say(f"HTTP {server.http_url}, metrics {server.metrics_url}; Ctrl-C stops it")
                server.wait(stopping)
                _say("stopping")
            return 0
        except ServerError as error:
            _say(f"error: {error}")
            if not options.restart or server.failure is None:
                return 1
            _say("starting again")


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
