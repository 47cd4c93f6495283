"""The gateway as an ASGI application."""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from llmasos.version import __version__
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from llmasos_serving.gateway.anthropic import message
from llmasos_serving.gateway.anthropic_fields import MessagesRequest
from llmasos_serving.gateway.api_error import ANTHROPIC_PATH, ApiError
from llmasos_serving.gateway.chat import chat_completion
from llmasos_serving.gateway.chat_fields import ChatRequest
from llmasos_serving.gateway.completions import CompletionRequest, text_completion
from llmasos_serving.gateway.departure import unless_gone
from llmasos_serving.gateway.embeddings import EmbeddingsRequest, embeddings
from llmasos_serving.gateway.error_handlers import ERROR_RESPONSES, handle_errors
from llmasos_serving.gateway.limits import Limits
from llmasos_serving.gateway.rerank import RerankRequest, ScoreRequest, rerank, score
from llmasos_serving.gateway.responses import response
from llmasos_serving.gateway.responses_fields import ResponsesRequest
from llmasos_serving.gateway.served_model import ServedModel
from llmasos_serving.gateway.settings import GatewaySettings
from llmasos_serving.gateway.sse import OR_EVENTS
from llmasos_serving.gateway.tokens import (
    DetokenizeRequest,
    TokenizeRequest,
    detokenize,
    tokenize,
)

_PAGE = Path(__file__).parent / "page"
_METRICS_TIMEOUT_S = 5.0
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
Connect = Callable[[], Sequence[ServedModel]]


@dataclass(slots=True, kw_only=True)
class _Served:
    """What the routes share. models: are there while the application runs."""

    settings: GatewaySettings
    models: Sequence[ServedModel] = ()

    def generator(self, name: str | None, path: str) -> ServedModel:
        """The model that a request names, which must continue texts; raises ApiError."""
        model = self.asked(name)
        model.check_task("generate", path)
        return model

    def asked(self, name: str | None) -> ServedModel:
        """The model that a request names, or the first; raises ApiError for another."""
        for model in self.models:
            if name in (None, model.name):
                return model
        names = [repr(model.name) for model in self.models]
        are = f"{', '.join(names)} are" if len(names) > 1 else f"{names[0]} is"
        raise ApiError(
            f"the model {name!r:.200} is not served here, {are}",
            status=HTTPStatus.NOT_FOUND,
            param="model",
            code="model_not_found",
        )


def make_app(
    connect: Connect, settings: GatewaySettings, *, metrics_url: str | None = None
) -> FastAPI:
    """connect: makes the models in the application's event loop. metrics_url: Triton's page."""
    served = _Served(settings=settings)

    @asynccontextmanager
    async def connected(_: FastAPI) -> AsyncGenerator[None]:
        served.models = connect()
        yield
        for model in served.models:
            await model.client.aclose()

    app = FastAPI(
        title="LLMasOS",
        version=__version__,
        lifespan=connected,
        docs_url=None,
        redoc_url=None,
        responses=ERROR_RESPONSES,
    )
    app.add_middleware(Limits, settings=settings)
    handle_errors(app)
    _serve_answers(app, served)
    _serve_texts(app, served)
    _serve_models(app, served)
    _serve_tokens(app, served)
    _serve_state(app, served, metrics_url)
    _serve_page(app)
    return app


def _serve_answers(app: FastAPI, served: _Served) -> None:
    @app.post("/v1/chat/completions", response_model=None, responses=OR_EVENTS)
    async def chat(request: Request, body: ChatRequest) -> Response | dict[str, Any]:
        work = chat_completion(
            served.generator(body.model, request.url.path), body, served.settings
        )
        return await unless_gone(request, work)

    @app.post("/v1/completions", response_model=None, responses=OR_EVENTS)
    async def completions(request: Request, body: CompletionRequest) -> Response | dict[str, Any]:
        work = text_completion(
            served.generator(body.model, request.url.path), body, served.settings
        )
        return await unless_gone(request, work)

    @app.post("/v1/responses", response_model=None, responses=OR_EVENTS)
    async def responses(request: Request, body: ResponsesRequest) -> Response | dict[str, Any]:
        work = response(served.generator(body.model, request.url.path), body, served.settings)
        return await unless_gone(request, work)

    @app.post(ANTHROPIC_PATH, response_model=None, responses=OR_EVENTS)
    async def messages(request: Request, body: MessagesRequest) -> Response | dict[str, Any]:
        work = message(served.generator(body.model, request.url.path), body, served.settings)
        return await unless_gone(request, work)


def _serve_texts(app: FastAPI, served: _Served) -> None:
    @app.post("/v1/embeddings", response_model=None)
    async def vectors(request: Request, body: EmbeddingsRequest) -> Response | dict[str, Any]:
        return await unless_gone(request, embeddings(served.asked(body.model), body))

    @app.post("/v1/rerank", response_model=None)
    async def ranks(request: Request, body: RerankRequest) -> Response | dict[str, Any]:
        return await unless_gone(request, rerank(served.asked(body.model), body))

    @app.post("/v1/score", response_model=None)
    async def scores(request: Request, body: ScoreRequest) -> Response | dict[str, Any]:
        return await unless_gone(request, score(served.asked(body.model), body))


def _serve_models(app: FastAPI, served: _Served) -> None:
    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model_card(model) for model in served.models]}

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> dict[str, Any]:
        return _model_card(served.asked(name))


def _serve_tokens(app: FastAPI, served: _Served) -> None:
    @app.post("/tokenize")
    async def to_tokens(body: TokenizeRequest) -> dict[str, Any]:
        return await run_in_threadpool(tokenize, served.asked(body.model), body)

    @app.post("/detokenize")
    async def to_text(body: DetokenizeRequest) -> dict[str, Any]:
        return detokenize(served.asked(body.model), body)


def _serve_state(app: FastAPI, served: _Served, metrics_url: str | None) -> None:
    @app.get("/health", response_model=None)
    async def health() -> Response:
        is_ready = all([await model.client.is_ready() for model in served.models])
        return JSONResponse({"ready": is_ready}, status_code=200 if is_ready else 503)

    @app.get("/health/live")
    async def live() -> dict[str, bool]:
        return {"alive": True}

    if metrics_url is not None:

        @app.get("/metrics", response_class=PlainTextResponse)
        async def metrics() -> Response:
            return PlainTextResponse(await run_in_threadpool(_page_of, metrics_url))


def _serve_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False, response_model=None)
    async def page() -> Response:
        return FileResponse(_PAGE / "index.html", headers=_PAGE_HEADERS)

    app.mount("/page", StaticFiles(directory=_PAGE), name="page")


def _model_card(model: ServedModel) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "llmasos",
        "max_model_len": model.max_seq_len,
    }


def _page_of(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=_METRICS_TIMEOUT_S) as response:
            text: str = response.read().decode()
            return text
    except OSError as error:
        raise ApiError(
            f"the server's metrics cannot be read: {error}", status=HTTPStatus.SERVICE_UNAVAILABLE
        ) from error
