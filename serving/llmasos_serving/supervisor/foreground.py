"""Serve repositories in the foreground: until it is told to stop, or is given up."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from llmasos_serving.gateway.process import GatewayOptions
from llmasos_serving.supervisor.supervisor import Supervisor
from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.repositories.served_models import ServedRepository


def serve(
    repository: Path | str | Sequence[ServedRepository],
    options: ServerOptions | None = None,
    gateway: GatewayOptions | None = None,
) -> int:
    """Serve until SIGINT or SIGTERM; the exit status is 0 then, and 1 after a death for good.

    With `options.restart` what dies is started again. gateway: None starts no gateway of OpenAI's
    API.
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
        return Supervisor(
            repository,
            options or ServerOptions(),
            gateway,
            stopping=stopping,
            is_ready=is_ready,
            say=_say,
            progress=_Stages(),
        ).run()
    except KeyboardInterrupt:
        return 0
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


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
