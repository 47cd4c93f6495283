"""The gateway's process: `python -m llmasos_serving.gateway`, started by `llmasos serve`.

It ends when its stdin closes, so that it never outlives who started it. API keys come in the
environment variable LLMASOS_API_KEYS, with commas between, since arguments are seen by all.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from llmasos.triton.async_triton_client import AsyncTritonClient

from llmasos_serving.gateway.app import make_app
from llmasos_serving.gateway.process import KEYS
from llmasos_serving.gateway.served_model import ServedModel
from llmasos_serving.gateway.settings import MAX_CONCURRENT, GatewaySettings
from llmasos_serving.gateway.tracing import Traced, provider_of

_DRAIN_S = 10


def main() -> None:
    options = _arguments()
    keys = tuple(key for key in os.environ.pop(KEYS, "").split(",") if key)

    def connect() -> list[ServedModel]:
        return [
            ServedModel.of_plan(
                Path(plan), AsyncTritonClient(options.grpc, model=name or None), name=name or None
            )
            for name, plan in options.model
        ]

    settings = GatewaySettings(
        api_keys=keys,
        max_concurrent=options.max_concurrent,
        max_requests_per_minute=options.max_requests_per_minute,
    )
    app = make_app(connect, settings, metrics_url=options.metrics)
    if options.otlp_endpoint is not None:
        app.add_middleware(Traced, provider=provider_of(options.otlp_endpoint))
    server = _server(app, options)

    def end_with_parent() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end_with_parent, daemon=True).start()
    server.run()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model",
        required=True,
        action="append",
        nargs=2,
        metavar=("NAME", "PLAN"),
        help="a model's name in Triton, or nothing for the only one, and its plan's directory",
    )
    parser.add_argument("--grpc", required=True, help="Triton's gRPC address, host:port")
    parser.add_argument("--metrics", help="the URL of Triton's metrics")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--max-concurrent", type=int, default=MAX_CONCURRENT)
    parser.add_argument("--max-requests-per-minute", type=int)
    parser.add_argument("--tls-certificate", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--otlp-endpoint", help="where traces go (OTLP over HTTP)")
    return parser.parse_args()


def _server(app: FastAPI, options: argparse.Namespace) -> uvicorn.Server:
    """h11 bounds the headers of a request; other parsers do not."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=options.host,
            port=options.port,
            http="h11",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_DRAIN_S,
            server_header=False,
            ssl_certfile=options.tls_certificate,
            ssl_keyfile=options.tls_key,
        )
    )


if __name__ == "__main__":
    main()
