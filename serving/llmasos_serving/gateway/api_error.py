"""Errors as OpenAI's API says them: {"error": {message, type, param, code}} and a status."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from llmasos.errors import LLMasOSError
from starlette.responses import JSONResponse, Response

_RETRY_AFTER_S = 1
_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}
_ANTHROPIC_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request_too_large",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "overloaded_error",
}
ANTHROPIC_PATH = "/v1/messages"
_OVERFLOW = ("at most", "fit: max_seq_len is")


class ApiError(Exception):
    """An error that a client sees. param: the field that is wrong, if one is."""

    def __init__(
        self,
        message: str,
        *,
        status: HTTPStatus = HTTPStatus.BAD_REQUEST,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int = _RETRY_AFTER_S,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s

    @classmethod
    def of(cls, error: LLMasOSError) -> ApiError:
        """The same error, said as OpenAI's API says it."""
        text = str(error)
        is_overflow = all(part in text for part in _OVERFLOW)
        code = "context_length_exceeded" if is_overflow else error.code
        return cls(text, status=error.status, code=code)

    def body(self) -> dict[str, Any]:
        default = "invalid_request_error" if self.status < 500 else "server_error"
        return {
            "error": {
                "message": self.message,
                "type": _TYPES.get(self.status, default),
                "param": self.param,
                "code": self.code,
            }
        }

    def text(self) -> str:
        return json.dumps(self.body(), ensure_ascii=False)

    def anthropic_body(self) -> dict[str, Any]:
        """The same in the form of Anthropic's API."""
        kind = _ANTHROPIC_TYPES.get(self.status)
        if kind is None:
            kind = "invalid_request_error" if self.status < 500 else "api_error"
        return {"type": "error", "error": {"type": kind, "message": self.message}}

    def response(self, path: str = "") -> Response:
        """path: of the request; Anthropic's endpoints have a form of their own."""
        body = self.anthropic_body() if path.startswith(ANTHROPIC_PATH) else self.body()
        headers = {}
        if self.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            headers["Retry-After"] = str(self.retry_after_s)
        if self.status is HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(body, status_code=self.status, headers=headers)


def unsupported(name: str, hint: str = "") -> ApiError:
    """The refusal of a field that the API has and this server does not."""
    message = f"{name} is not supported by this server"
    return ApiError(
        f"{message}: {hint}" if hint else message, param=name, code="unsupported_parameter"
    )
