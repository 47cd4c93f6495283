"""The command line of tritonserver."""

from __future__ import annotations

import secrets
from pathlib import Path

from llmasos_serving.triton.installation import Installation
from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.ports import Ports

# Anyone who reaches these could read memory or fill the disk. The model repository is open, since
# clients look models up in its index: the control mode none refuses to load and unload them.
_RESTRICTED = "shared-memory,trace,logging"
_STUB_TIMEOUT_S = 300


def server_command(
    installation: Installation,
    repository: Path,
    options: ServerOptions,
    ports: Ports,
    shm_prefix: str,
) -> list[str]:
    """argv of the server.

    repository: a path of which the server may make a shell's line. shm_prefix: begins the name
    of each of its shared memory regions.
    """
    # Nobody learns this key: what it protects is not used.
    key = f"llmasos-admin={secrets.token_hex(16)}"
    return [
        str(installation.executable),
        *installation.arguments,
        f"--model-repository={repository}",
        "--model-control-mode=none",
        "--disable-auto-complete-config",  # would start every Python process twice
        f"--exit-timeout-secs={options.drain_s}",
        f"--http-address={options.host}",
        f"--http-port={ports.http}",
        f"--grpc-address={options.host}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-address={options.host}",
        f"--metrics-port={ports.metrics}",
        f"--http-restricted-api={_RESTRICTED}:{key}",
        f"--grpc-restricted-protocol={_RESTRICTED}:{key}",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
        f"--backend-config=python,stub-timeout-seconds={_STUB_TIMEOUT_S}",
        *_traces(options.otlp_endpoint),
    ]


def _traces(endpoint: str | None) -> list[str]:
    """Arguments by which Triton sends spans of every request and of each model that it asks."""
    if endpoint is None:
        return []
    settings = [
        "mode=opentelemetry",
        "level=TIMESTAMPS",
        "rate=1",
        f"opentelemetry,url={endpoint}",
        "opentelemetry,resource=service.name=llmasos-triton",
    ]
    return [f"--trace-config={setting}" for setting in settings]
