"""Starts and ends the gateway's process, beside a running Triton server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from llmasos.errors import ServerError

from llmasos_serving.gateway.settings import DEFAULT_PORT, MAX_CONCURRENT, GatewaySettings
from llmasos_serving.gateway.tls import check_certificate, unchecked
from llmasos_serving.gateway.tracing import check_endpoint

KEYS = "LLMASOS_API_KEYS"
"""Environment variable of the process: API keys with commas between; arguments are seen by all."""
_START_S = 60.0
_STOP_S = 15.0
_POLL_S = 0.05
_TAIL_BYTES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """port: of OpenAI's API; 0 picks a free one. host: the address to listen on.

    tls_certificate, tls_key: files in PEM; with them the gateway speaks HTTPS alone. otlp_endpoint:
    where traces go, if anywhere. The others are those of GatewaySettings.
    """

    port: int = DEFAULT_PORT
    host: str = "127.0.0.1"
    api_keys: tuple[str, ...] = ()
    max_concurrent: int = MAX_CONCURRENT
    max_requests_per_minute: int | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    otlp_endpoint: str | None = None

    def __post_init__(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ServerError("TLS needs both, a tls_certificate and a tls_key")
        if self.tls_certificate is not None:
            check_certificate(self.tls_certificate, self.tls_key)
        if self.otlp_endpoint is not None:
            check_endpoint(self.otlp_endpoint)
        self.settings()  # refuses what is wrong
        if not 0 <= self.port <= 65535:
            raise ServerError(f"openai_port must be between 0 and 65535, got {self.port}")

    def settings(self) -> GatewaySettings:
        """What the gateway's process is told."""
        return GatewaySettings(
            api_keys=self.api_keys,
            max_concurrent=self.max_concurrent,
            max_requests_per_minute=self.max_requests_per_minute,
        )

    def arguments(self) -> list[str]:
        """The same as arguments of the process; API keys are not among them."""
        found = ["--max-concurrent", str(self.max_concurrent)]
        if self.max_requests_per_minute is not None:
            found += ["--max-requests-per-minute", str(self.max_requests_per_minute)]
        if self.otlp_endpoint is not None:
            found += ["--otlp-endpoint", self.otlp_endpoint]
        if self.tls_certificate is not None:
            found += ["--tls-certificate", str(self.tls_certificate.absolute())]
            found += ["--tls-key", str(self.tls_key and self.tls_key.absolute())]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPlan:
    """A model to answer for. plan: the directory of its engine plan.

    name: by which the Triton server has it, and clients ask for it; None for the only one of a
    server, which has the plan's name for clients.
    """

    plan: Path
    name: str | None = None

    def arguments(self) -> list[str]:
        """The same as arguments of the process."""
        return ["--model", self.name or "", str(self.plan)]


class GatewayProcess:
    """A context manager; inside it the gateway answers. It ends with this process.

    models: the first is asked where a request may leave the model out. grpc_url, metrics_url: of
    the Triton server.
    """

    def __init__(
        self,
        options: GatewayOptions,
        *,
        models: Sequence[NamedPlan],
        grpc_url: str,
        metrics_url: str,
    ) -> None:
        self._options = options
        self._host = host = options.host
        self.port = _free_port(host, options.port)
        self._command = [
            sys.executable, "-m", "llmasos_serving.gateway",
            *(word for model in models for word in model.arguments()),
            "--grpc", grpc_url, "--metrics", metrics_url, "--host", host,
            "--port", str(self.port), *options.arguments(),
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """http://host:port (https:// with TLS), for clients on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        scheme = "http" if self._options.tls_certificate is None else "https"
        return (
            f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"
        )

    @property
    def pid(self) -> int:
        """Id of the process."""
        assert self._process is not None
        return self._process.pid

    def begin_to_end(self) -> None:
        """Let running requests finish, and accept no more; `__exit__` waits for the end."""
        if self._process is not None:
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()

    def failure(self) -> ServerError | None:
        """The reason why the process has ended, if it has."""
        if self._process is None or self._process.poll() is None:
            return None
        return ServerError(
            f"the OpenAI gateway ended with status {self._process.returncode}: {self._tail()}"
        )

    def __enter__(self) -> GatewayProcess:
        """Starts it, and returns when it answers; raises ServerError."""
        keys = {KEYS: ",".join(self._options.api_keys)}
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **keys},
            start_new_session=True,
        )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _wait_until_it_answers(self) -> None:
        ends_at = time.monotonic() + _START_S
        while not self._answers():
            failure = self.failure()
            if failure is not None:
                raise failure
            if time.monotonic() > ends_at:
                raise ServerError(f"the OpenAI gateway is not ready within {_START_S:g} s")
            time.sleep(_POLL_S)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(
                f"{self.url}/health", timeout=_START_S, context=unchecked()
            ) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def _stop(self) -> None:
        self.begin_to_end()
        if self._process is not None:
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._log is not None:
            self._log.close()
        self._process = self._log = None

    def _tail(self) -> str:
        """The last lines that it wrote."""
        if self._log is None:
            return ""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return self._log.read().decode(errors="replace").strip()


def _free_port(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, port))
        except OSError as error:
            raise ServerError(
                f"openai_port {port} cannot be had on {host} ({error.strerror or error})",
                hint="--openai-port 0 picks a free one, --no-openai starts no gateway",
            ) from error
        found: int = one.getsockname()[1]
        return found
