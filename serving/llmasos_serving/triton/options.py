"""How to run a Triton server: where it listens, and what its engine may use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmasos.errors import ServerError
from llmasos.generation_config import GenerationConfigChoice
from llmasos_runtime.triton.model_arguments import OVERRIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Ports of 0 are chosen when the server starts.

    classic_names: serve the models with the names of the classic repository too, which have
        processes of their own.
    host: the address to listen on; Triton has no access control, so by default this machine's own.
    restart: under `supervisor`, start a server that died again, instead of ending with an error.
    max_restarts: within ten minutes. num_restarts: how often that happened, for the metrics.
    log_file: where the server's log goes; by default a file that is removed with the server.
    otlp_endpoint: the URL to which Triton sends traces of each model (OTLP over HTTP).
    start_timeout_s: longest wait until the first answer. drain_s: how long running requests
    may take to end when the server is stopped. canary_period_s: how often a running server
    is asked for a token. num_threads, kv_cache_bytes, max_queue_size, enable_kv_cache_reuse,
    speculate, generation_config, stream_interval: replace what the repository says for the engine.
    """

    grpc_port: int = 8001
    http_port: int = 8000
    metrics_port: int = 8002
    host: str = "127.0.0.1"
    classic_names: bool = True
    restart: bool = False
    max_restarts: int = 5
    num_restarts: int = 0
    log_file: Path | None = None
    otlp_endpoint: str | None = None
    start_timeout_s: float = 300.0
    drain_s: int = 10
    canary_period_s: float = 30.0
    num_threads: int | None = None
    kv_cache_bytes: int | None = None
    max_queue_size: int | None = None
    enable_kv_cache_reuse: bool | None = None
    speculate: bool | None = None
    generation_config: GenerationConfigChoice | None = None
    stream_interval: int | None = None

    def __post_init__(self) -> None:
        for name in ("grpc_port", "http_port", "metrics_port"):
            port = getattr(self, name)
            if not 0 <= port <= 65535:
                raise ServerError(f"{name} must be between 0 and 65535, got {port}")
        chosen = [port for port in (self.grpc_port, self.http_port, self.metrics_port) if port]
        if len(set(chosen)) < len(chosen):
            raise ServerError(f"the ports must differ, got {', '.join(map(str, chosen))}")
        for name in ("num_threads", "kv_cache_bytes", "max_queue_size", "stream_interval"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ServerError(f"{name} must be at least 1, got {value}")

    def engine_environment(self) -> dict[str, str]:
        """Environment variables that replace the repository's parameters of the engine."""
        values = {
            "num_threads": self.num_threads,
            "kv_cache_bytes": self.kv_cache_bytes,
            "max_queue_size": self.max_queue_size,
            "enable_kv_cache_reuse": self.enable_kv_cache_reuse,
            "speculate": self.speculate,
            "generation_config": self.generation_config,
            "stream_interval": self.stream_interval,
            "num_restarts": self.num_restarts or None,
        }
        return {
            OVERRIDE + name.upper(): str(value)
            for name, value in values.items()
            if value is not None
        }
