"""Runs a server and its gateway, and starts again what dies, until told to stop.

The gateway outlives a restart of the server: it answers with a retryable error meanwhile, and
finds the next server at the same ports.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from llmasos.errors import LLMasOSError, ServerError
from llmasos.progress import Progress

from llmasos_serving.gateway.process import GatewayOptions, GatewayProcess, NamedPlan
from llmasos_serving.supervisor.restart_policy import RestartPolicy
from llmasos_serving.supervisor.watched_gateway import WatchedGateway
from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.repositories.served_models import ServedRepository
from llmasos_serving.triton.server import TritonServer
from llmasos_serving.triton.watchdog import LOOK_S

_GATEWAY_PERIOD_S = 1.0


class Supervisor:
    """One server of one repository or several, and a gateway if there are options for one.

    options.restart: without it the first death is the end. stopping: ends `run` when it is set.
    is_ready: set while both answer. say: prints one message.
    """

    def __init__(
        self,
        repository: Path | str | Sequence[ServedRepository],
        options: ServerOptions,
        gateway: GatewayOptions | None,
        *,
        stopping: threading.Event,
        is_ready: threading.Event,
        say: Callable[[str], object],
        progress: Progress | None = None,
        policy: RestartPolicy | None = None,
    ) -> None:
        self._repository = repository
        self._options = options
        self._gateway_options = gateway
        self._stopping = stopping
        self._is_ready = is_ready
        self._say = say
        self._progress = progress
        self._policy = policy or RestartPolicy(max_restarts=options.max_restarts)
        self._server: TritonServer | None = None
        self._door: WatchedGateway | None = None
        self._doors = ExitStack()

    def run(self) -> int:
        """Returns 0 when it was told to stop, and 1 when it gave up.

        Raises PlanError or ServerError for what is wrong with the first start.
        """
        try:
            self._start_all()
            while True:
                try:
                    self._wait()
                except ServerError as error:
                    if not self._recovers(error):
                        return 0 if self._stopping.is_set() else 1
                else:
                    self._say("stopping")
                    return 0
        finally:
            self._end_all()

    def _start_all(self) -> None:
        started = time.monotonic()
        server = self._server = TritonServer(
            self._repository, self._options, progress=self._progress
        )
        server.start()
        self._options = server.options_with_ports()
        if self._gateway_options is not None and self._door is None:
            self._start_gateway(server, self._gateway_options)
        self._is_ready.set()
        self._say(f"ready in {time.monotonic() - started:.1f} s: {server.grpc_url}")
        self._say(f"HTTP {server.http_url}, metrics {server.metrics_url}; Ctrl-C stops it")
        if self._door is not None:
            self._say(f"OpenAI's API {self._door.url}/v1, a page to chat {self._door.url}/")

    def _start_gateway(self, server: TritonServer, options: GatewayOptions) -> None:
        process = GatewayProcess(
            options,
            models=[NamedPlan(plan=model.plan, name=model.name) for model in server.models],
            grpc_url=server.grpc_url,
            metrics_url=server.metrics_url,
        )
        self._gateway_options = replace(options, port=process.port)
        self._door = self._doors.enter_context(WatchedGateway(process, period_s=_GATEWAY_PERIOD_S))

    def _wait(self) -> None:
        """Wait until `stopping` is set; raises ServerError when the server or its gateway dies."""
        while not self._stopping.wait(LOOK_S):
            for part in (self._server, self._door):
                if part is not None and part.failure is not None:
                    raise part.failure

    def _recovers(self, error: ServerError) -> bool:
        """Start again what died, as often as the policy lets it; False when that is the end."""
        cause: LLMasOSError = error
        while True:
            self._say_why(cause)
            if not self._options.restart:
                return False
            delay_s = self._policy.delay_s()
            if delay_s is None:
                self._say(f"error: given up after {self._policy.limit()}; the last: {cause}")
                return False
            self._is_ready.clear()
            if self._stopping.wait(delay_s):
                return False
            self._say(f"starting again (restart {self._policy.num_restarts})")
            try:
                self._replace_what_died()
            except LLMasOSError as again:
                cause = again
            else:
                return True

    def _say_why(self, error: LLMasOSError) -> None:
        server = self._server
        tail = ""
        if server is not None and server.failure is not None:
            tail = f"{server.log_tail()}\n"
        self._say(f"{tail}error: {error}")

    def _replace_what_died(self) -> None:
        server, door = self._server, self._door
        if door is not None and door.failure is not None:
            self._doors.close()
            self._door = None
        if server is not None and not server.is_running():
            server.stop(drain=False)
            self._options = replace(self._options, num_restarts=self._policy.num_restarts)
            self._start_all()
        elif server is not None and self._gateway_options is not None and self._door is None:
            self._start_gateway(server, self._gateway_options)
            self._is_ready.set()
            self._say("the gateway is ready again")

    def _end_all(self) -> None:
        """Both at once, so that the time to drain counts once."""
        if self._door is not None:
            self._door.begin_to_end()
        if self._server is not None:
            self._server.stop()
        self._doors.close()
