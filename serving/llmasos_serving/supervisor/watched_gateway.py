"""A gateway that is watched: dead when its process is, or when it does nothing for a probe."""

from __future__ import annotations

import threading
import urllib.request
from types import TracebackType

import psutil
from llmasos.errors import EngineStoppedError, RequestTimeoutError, ServerError

from llmasos_serving.gateway.process import GatewayProcess
from llmasos_serving.gateway.tls import unchecked
from llmasos_serving.triton.processes import ModelProcess
from llmasos_serving.triton.watchdog import LOOK_S, Canary, Watchdog

_PROBE_TIMEOUT_S = 10.0
_NAME = "the OpenAI gateway"


class WatchedGateway:
    """A context manager that starts a gateway and watches it as `watchdog` watches a server.

    failure: why it was ended, if it was; its process is gone then.
    """

    def __init__(self, process: GatewayProcess, *, period_s: float) -> None:
        """period_s: between two probes of a gateway that answers."""
        self._process = process
        self._period_s = period_s
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None
        self.failure: ServerError | None = None

    @property
    def url(self) -> str:
        return self._process.url

    def __enter__(self) -> WatchedGateway:
        self._process.__enter__()
        self._watcher = threading.Thread(target=self._watch, name="watch gateway", daemon=True)
        self._watcher.start()
        return self

    def begin_to_end(self) -> None:
        """Let running requests finish; `__exit__` waits for the end."""
        self._stopping.set()
        self._process.begin_to_end()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.begin_to_end()
        self._process.__exit__(kind, error, traceback)
        if self._watcher is not None:
            self._watcher.join()

    def _watch(self) -> None:
        canary = Canary(self._probe, period_s=self._period_s)
        process = psutil.Process(self._process.pid)
        watchdog = Watchdog(
            [ModelProcess(model="gateway", process=process, said=_NAME)],
            canary,
            poll=lambda: None,
            num_steps=lambda: None,
        )
        while not self._stopping.wait(LOOK_S):
            failure = self._process.failure()
            reason = None if failure is not None else watchdog.look()
            if self._stopping.is_set():
                break
            if failure is not None or reason is not None:
                self._process.kill()
                self.failure = failure or ServerError(_of_gateway(reason or ""))
                break
        canary.close()

    def _probe(self) -> None:
        """Ask for what the gateway answers without the engine."""
        try:
            with urllib.request.urlopen(
                f"{self.url}/health/live", timeout=_PROBE_TIMEOUT_S, context=unchecked()
            ):
                pass
        except TimeoutError as error:
            raise RequestTimeoutError(f"no answer within {_PROBE_TIMEOUT_S:g} s") from error
        except OSError as error:
            if isinstance(getattr(error, "reason", None), TimeoutError):
                raise RequestTimeoutError(f"no answer within {_PROBE_TIMEOUT_S:g} s") from error
            if self._process.failure() is None and not self._stopping.is_set():
                raise EngineStoppedError(str(error)) from error


def _of_gateway(reason: str) -> str:
    return reason.replace("the server", _NAME)
