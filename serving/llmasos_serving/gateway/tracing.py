"""OpenTelemetry traces of the gateway's requests; off unless an endpoint is given.

A span covers a request until its last byte, named as OpenTelemetry's conventions for HTTP servers
say, and continues the trace of a client that sends `traceparent`. Its packages are an extra, and
are imported when they are needed.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from llmasos.errors import ServerError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_EXPORTER = "opentelemetry.exporter.otlp.proto.http"


def check_endpoint(endpoint: str) -> None:
    """Raises ServerError for an endpoint that is none, or where the packages are missing."""
    if not endpoint.startswith(("http://", "https://")):
        raise ServerError(
            f"otlp_endpoint must be a URL such as http://localhost:4318/v1/traces, got {endpoint}"
        )
    try:
        is_there = find_spec(_EXPORTER) is not None
    except ModuleNotFoundError:
        is_there = False
    if not is_there:
        raise ServerError(
            "otlp_endpoint needs OpenTelemetry's packages", hint="pip install 'llmasos[otel]'"
        )


class Traced:
    """Wraps an application; `provider` is OpenTelemetry's TracerProvider."""

    def __init__(self, app: ASGIApp, provider: Any) -> None:
        self._app = app
        self._tracer = provider.get_tracer("llmasos.gateway")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        with self._span(scope) as span:
            has_begun = False

            async def send_and_note(message: Message) -> None:
                nonlocal has_begun
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                elif message.get("body") and not has_begun:
                    has_begun = True
                    span.add_event("first byte")
                await send(message)

            await self._app(scope, receive, send_and_note)

    def _span(self, scope: Scope) -> Any:
        trace = import_module("opentelemetry.trace")
        propagation = import_module("opentelemetry.trace.propagation.tracecontext")
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        return self._tracer.start_as_current_span(
            f"POST {scope['path']}",
            context=propagation.TraceContextTextMapPropagator().extract(headers),
            kind=trace.SpanKind.SERVER,
            attributes={"http.request.method": "POST", "url.path": scope["path"]},
        )


def provider_of(endpoint: str) -> Any:
    """A TracerProvider that sends spans to an OTLP/HTTP endpoint, from a thread of its own."""
    exporter = import_module(f"{_EXPORTER}.trace_exporter").OTLPSpanExporter(endpoint=endpoint)
    resource = import_module("opentelemetry.sdk.resources").Resource
    named = resource.create({"service.name": "llmasos-gateway"})
    provider = import_module("opentelemetry.sdk.trace").TracerProvider(resource=named)
    export = import_module("opentelemetry.sdk.trace.export")
    provider.add_span_processor(export.BatchSpanProcessor(exporter))
    return provider
