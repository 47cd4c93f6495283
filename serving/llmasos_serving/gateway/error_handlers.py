"""Gives every error of the gateway the form of the API that was asked, whoever found it."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from llmasos.errors import LLMasOSError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from llmasos_serving.gateway.api_error import ApiError

ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "What is wrong with the request, in the form of the API"},
    "5XX": {"description": "The engine is gone, or the server has failed"},
}
"""For the document that describes the gateway: no error has another form."""


def handle_errors(app: FastAPI) -> None:
    """Every error has one form, whoever found it."""

    @app.exception_handler(ApiError)
    async def ours(request: Request, error: ApiError) -> Response:
        return error.response(request.url.path)

    @app.exception_handler(LLMasOSError)
    async def of_engine(request: Request, error: LLMasOSError) -> Response:
        return ApiError.of(error).response(request.url.path)

    @app.exception_handler(RequestValidationError)
    async def of_fields(request: Request, error: RequestValidationError) -> Response:
        return _field_error(error.errors()[0], error.body).response(request.url.path)

    @app.exception_handler(HTTPException)
    async def of_route(request: Request, error: HTTPException) -> Response:
        return ApiError(str(error.detail), status=HTTPStatus(error.status_code)).response(
            request.url.path
        )

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        message = f"internal error: {type(error).__name__}"
        return ApiError(message, status=HTTPStatus.INTERNAL_SERVER_ERROR).response(request.url.path)


def _field_error(found: dict[str, Any], body: Any) -> ApiError:
    """The first field that is wrong, with its value and what it must be."""
    parts = [part for part in found["loc"] if part != "body"]
    place = _place(parts, body)
    if found["type"] == "missing" and parts:
        place.append(str(parts[-1]))
    name = ".".join(place)
    said = name or "the body"
    if found["type"] == "json_invalid":
        return ApiError("the body is not JSON", code="invalid_json")
    if found["type"] == "extra_forbidden":
        return ApiError(f"{name} is not a field of this request", param=name, code="unknown_field")
    if found["type"] == "missing":
        return ApiError(f"{said} is missing", param=name or None, code="missing_field")
    message = f"{said}: {found['msg']}, got {found.get('input')!r:.100}"
    return ApiError(message, param=name or None, code="invalid_value")


def _place(parts: Sequence[str | int], body: Any) -> list[str]:
    """Where an error is in the body, without the names that pydantic gives the kinds of a union."""
    place: list[str] = []
    for part in parts:
        if isinstance(body, dict):
            inside: dict[Any, Any] = body
        elif isinstance(body, list):
            inside = dict(enumerate(body))
        else:
            break
        if part in inside:
            body = inside[part]
            place.append(str(part))
    return place
