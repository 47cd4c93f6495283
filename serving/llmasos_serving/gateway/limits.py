"""What every request must pass before it is parsed: a key, a rate, room, a size and a depth."""

from __future__ import annotations

import asyncio
import hmac
import math
from collections import Counter
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmasos_serving.gateway.api_error import ApiError
from llmasos_serving.gateway.json_depth import is_deeper_than
from llmasos_serving.gateway.rate_limit import RateLimit
from llmasos_serving.gateway.settings import GatewaySettings

_OPEN_PATHS = ("/health", "/health/live", "/")
_QUICK_BYTES = 1 << 16


class Limits:
    """Wraps an application. Open to all are /health, the page and its files.

    The whole body is read before the application sees the request.
    """

    def __init__(self, app: ASGIApp, settings: GatewaySettings) -> None:
        self._app = app
        self._settings = settings
        self._running: Counter[str] = Counter()
        limit = settings.max_requests_per_minute
        self._rate = None if limit is None else RateLimit(limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            key = self._key(headers)
            self._check_rate(key or (scope.get("client") or ("",))[0])
            self._check_length(headers)
            self._check_room(key)
        except ApiError as error:
            await error.response(scope["path"])(scope, receive, send)
            return
        self._running[key] += 1
        try:
            await self._pass_on(scope, receive, send)
        finally:
            self._running[key] -= 1

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await asyncio.wait_for(self._body(receive), self._settings.body_timeout_s)
            if body is None:
                return  # the client has gone
            await self._check_body(body)
        except ApiError as error:
            await error.response(scope["path"])(scope, receive, send)
        except asyncio.TimeoutError:
            await _too_slow(self._settings.body_timeout_s).response(scope["path"])(
                scope, receive, send
            )
        else:
            await self._app(scope, _replayed(body, receive), send)

    def _key(self, headers: Headers) -> str:
        """The key that the request bears, which is compared in constant time."""
        if not self._settings.api_keys:
            return ""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        known = [
            hmac.compare_digest(given.encode(), key.encode()) for key in self._settings.api_keys
        ]
        if not any(known):
            raise ApiError(
                "the API key is missing or wrong: send it as Authorization: Bearer KEY",
                status=HTTPStatus.UNAUTHORIZED,
                code="invalid_api_key",
            )
        return given

    def _check_rate(self, client: str) -> None:
        wait_s = 0.0 if self._rate is None else self._rate.wait_s(client)
        if wait_s > 0:
            raise ApiError(
                f"at most {self._settings.max_requests_per_minute} requests a minute may be sent",
                status=HTTPStatus.TOO_MANY_REQUESTS,
                code="rate_limit_exceeded",
                retry_after_s=math.ceil(wait_s),
            )

    def _check_length(self, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._settings.max_body_bytes:
            raise _too_large(int(length), self._settings.max_body_bytes)

    def _check_room(self, key: str) -> None:
        of_key, of_all = self._settings.max_concurrent, self._settings.max_concurrent_in_all
        for running, most in ((self._running[key], of_key), (self._running.total(), of_all)):
            if running >= most:
                raise ApiError(
                    f"{running} requests are already running, at most {most} may",
                    status=HTTPStatus.TOO_MANY_REQUESTS,
                    code="queue_full",
                )

    async def _body(self, receive: Receive) -> bytes | None:
        """Counts the bytes as they come, since their number need not be said, or be true."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._settings.max_body_bytes:
                raise _too_large(size, self._settings.max_body_bytes)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def _check_body(self, body: bytes) -> None:
        """Refuses what is nested too deeply, and what is no UTF-8: depth is counted in bytes."""
        most = self._settings.max_depth
        if len(body) <= _QUICK_BYTES:
            is_deep = is_deeper_than(body, most)
        else:
            is_deep = await run_in_threadpool(is_deeper_than, body, most)
        if is_deep:
            raise ApiError(
                f"the body has lists or objects nested more than {most} deep", code="too_deep"
            )
        if b"\0" in body:
            raise ApiError("the body is not JSON in UTF-8", code="invalid_json")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the application a body that has been read, and then what comes after it."""
    is_read = False

    async def receive_again() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _too_large(size: int, most: int) -> ApiError:
    return ApiError(
        f"the body has {size} bytes, at most {most} may be sent",
        status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        code="request_too_large",
    )


def _too_slow(seconds: float) -> ApiError:
    return ApiError(
        f"the body has not come within {seconds:g} s",
        status=HTTPStatus.REQUEST_TIMEOUT,
        code="request_timeout",
    )


def _is_open(path: str) -> bool:
    return path in _OPEN_PATHS or path.startswith("/page/")
