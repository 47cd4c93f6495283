"""The three ports of a server: chosen where 0, known to be free where given."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from dataclasses import dataclass

from llmasos.errors import ServerError

from llmasos_serving.triton.options import ServerOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    grpc: int
    http: int
    metrics: int

    @classmethod
    def choose(cls, options: ServerOptions) -> Ports:
        """Raises ServerError for a port that is in use, or an address that is not ours."""
        wanted = {
            "grpc_port": options.grpc_port,
            "http_port": options.http_port,
            "metrics_port": options.metrics_port,
        }
        with ExitStack() as held:  # all, until all are known, so that no two of them are one
            grpc, http, metrics = (
                held.enter_context(_bind(options.host, port, name)).getsockname()[1]
                for name, port in wanted.items()
            )
        return cls(grpc=grpc, http=http, metrics=metrics)


def _bind(host: str, port: int, name: str) -> socket.socket:
    one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind((host, port))
    except OSError as error:
        one.close()
        raise _refusal(error, host, port, name) from error
    return one


def _refusal(error: OSError, host: str, port: int, name: str) -> ServerError:
    reason = error.strerror or error
    if error.errno == errno.EADDRINUSE:
        return ServerError(f"{name} {port} is in use ({reason})", hint="0 picks a free port")
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return ServerError(f"host {host} is no address of this machine ({reason})")
    return ServerError(f"{name} {port} cannot be had on {host} ({reason})")
