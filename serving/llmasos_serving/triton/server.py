"""A tritonserver that is ready when it has answered, and dead when its engine is."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType

from llmasos.errors import LLMasOSError, ServerError
from llmasos.forked import OwnProcess
from llmasos.progress import Progress
from llmasos.triton.triton_client import TritonClient

from llmasos_serving.triton.canary_request import ask_for_a_token
from llmasos_serving.triton.models_watch import ModelsWatch, num_steps
from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.processes import LoadingProcesses, ModelProcess, server_processes
from llmasos_serving.triton.repositories.served_models import (
    PlacedModel,
    ServedRepository,
    place_models,
    repositories_of,
)
from llmasos_serving.triton.server_process import ServerProcess
from llmasos_serving.triton.watchdog import LOOK_S

_POLL_S = 0.05
_CANARY_TIMEOUT_S = 60.0
_MAX_STARTS = 3


class TritonServer:
    """A server for one repository, or several; a context manager that starts and stops it.

    While it runs, it is watched (see `watchdog`): when a process of it is dead, or does nothing
    while a canary waits, the whole server is killed, so that no client waits for ever;
    `failure` says why.
    """

    def __init__(
        self,
        repository: Path | str | Sequence[ServedRepository],
        options: ServerOptions | None = None,
        *,
        progress: Progress | None = None,
    ) -> None:
        self._repositories = repositories_of(repository)
        self._options = options or ServerOptions()
        self._address = _address_for_clients(self._options.host)
        self._progress = progress
        self._home = OwnProcess("this server")
        self._process: ServerProcess | None = None
        self._models: tuple[PlacedModel, ...] = ()
        self._watcher: threading.Thread | None = None
        self._stopping = threading.Event()
        self.failure: ServerError | None = None

    @property
    def grpc_url(self) -> str:
        """grpc://host:port."""
        return f"grpc://{self._address}:{self._running().ports.grpc}"

    @property
    def http_url(self) -> str:
        """http://host:port."""
        return f"http://{self._address}:{self._running().ports.http}"

    @property
    def metrics_url(self) -> str:
        """The page that Prometheus reads."""
        return f"http://{self._address}:{self._running().ports.metrics}/metrics"

    def log_tail(self) -> str:
        """The last lines that the server wrote."""
        return self._running().log.tail()

    @property
    def models(self) -> tuple[PlacedModel, ...]:
        """What is served, once it was started."""
        return self._models

    @property
    def pid(self) -> int:
        """Process id of tritonserver."""
        return self._running().pid

    def is_running(self) -> bool:
        """Whether it was started, and has not been found dead since."""
        return self._process is not None and self.failure is None

    def options_with_ports(self) -> ServerOptions:
        """Its options, with the ports that were chosen where they were 0."""
        ports = self._running().ports
        return replace(
            self._options,
            grpc_port=ports.grpc,
            http_port=ports.http,
            metrics_port=ports.metrics,
        )

    def start(self) -> None:
        """Returns when the server has answered a request; raises PlanError or ServerError."""
        self._models = place_models(self._repositories)
        self.failure = None
        watched = self._start(_MAX_STARTS)
        self._stopping.clear()
        self._watcher = threading.Thread(
            target=self._watch, args=watched, name="watch", daemon=True
        )
        self._watcher.start()

    def stop(self, *, drain: bool = True) -> None:
        """End the server and all it started; running requests get `drain_s` seconds.

        In a process that was forked meanwhile it does nothing: the server is its parent's.
        """
        if not self._home.is_this:
            return
        self._stopping.set()
        if self._process is not None:
            self._process.stop(drain=drain)
        if self._watcher is not None:
            self._watcher.join()
        if self._process is not None:
            self._process.close()
        self._process = self._watcher = None

    def wait(self, stopping: threading.Event | None = None) -> None:
        """Wait until `stopping` is set; raises ServerError when the server dies before."""
        while stopping is None or not stopping.wait(LOOK_S):
            if self.failure is not None:
                raise self.failure
            if stopping is None:
                time.sleep(LOOK_S)

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _running(self) -> ServerProcess:
        if self._process is None:
            raise ServerError("the server has not been started")
        return self._process

    def _start(self, num_tries: int) -> tuple[ServerProcess, list[ModelProcess]]:
        """A server that answers, and the processes of its models.

        It binds its ports when its models are loaded; one that another program takes
        meanwhile is chosen anew, or refused where it was given.
        """
        process = self._process = ServerProcess(self._models, self._options)
        try:
            return process, self._wait_until_it_answers(process)
        except BaseException as error:
            lost_a_port = isinstance(error, LLMasOSError) and process.log.lost_a_port()
            self.stop(drain=False)
            if num_tries == 1 or not lost_a_port:
                raise
        return self._start(num_tries - 1)

    def _wait_until_it_answers(self, process: ServerProcess) -> list[ModelProcess]:
        ends_at = time.monotonic() + self._options.start_timeout_s
        loading = LoadingProcesses(process.pid)
        with TritonClient(self.grpc_url, timeout_s=self._options.start_timeout_s) as client:
            while not (self._all_loaded(process) and self._is_open(client)):
                _refuse_if_failed(process)
                if loading.lost_one():
                    raise process.log.error("a process of a model ended while it was loaded")
                if time.monotonic() > ends_at:
                    raise process.log.error(f"not ready within {self._options.start_timeout_s:g} s")
                time.sleep(_POLL_S)
            processes = server_processes(process.pid)  # those that answer below
        for model in self._models:
            self._ask_for_a_token(model, timeout_s=self._options.start_timeout_s)
        return [*processes, process.guard_process()]

    def _is_open(self, client: TritonClient) -> bool:
        """Whether all three ports answer; Triton opens them one after the other."""
        if not client.is_ready():
            return False
        with TritonClient(self.http_url) as http:
            return http.is_ready() and num_steps(self.metrics_url) is not None

    def _all_loaded(self, process: ServerProcess) -> bool:
        names = self._options.classic_names
        wanted = {part for model in self._models for part in model.parts(classic_names=names)}
        loaded = process.log.loaded() & wanted
        if self._progress is not None:
            self._progress("loading models", len(loaded), len(wanted))
        return loaded == wanted

    def _watch(self, process: ServerProcess, processes: list[ModelProcess]) -> None:
        watch = ModelsWatch(
            self._models,
            processes,
            ask=partial(self._ask_for_a_token, timeout_s=_CANARY_TIMEOUT_S),
            period_s=self._options.canary_period_s,
            poll=process.poll,
            metrics_url=self.metrics_url,
        )
        while not self._stopping.wait(LOOK_S):
            reason = watch.look()
            if reason is not None and not self._stopping.is_set():
                process.stop(drain=False)
                self.failure = ServerError(reason)
                break
        watch.close()

    def _ask_for_a_token(self, model: PlacedModel, *, timeout_s: float) -> None:
        with TritonClient(self.grpc_url, model=model.name, timeout_s=timeout_s) as client:
            ask_for_a_token(client, model.task)


def _address_for_clients(host: str) -> str:
    """Where clients on this machine find a server that listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def _refuse_if_failed(process: ServerProcess) -> None:
    """Triton says what failed, and then unloads the others for some seconds, or for ever."""
    failure = process.log.failure()
    if failure is not None:
        raise failure
    status = process.poll()
    if status is not None:
        raise process.log.error(f"tritonserver ended with status {status}")
