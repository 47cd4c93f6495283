"""The errors that a caller of LLMasOS can catch.

The code, the HTTP status, whether a retry makes sense, and a hint are data, so that one
boundary can turn any of these into a reply (`llmasos.error_codes`). A code is stable: clients
tell errors apart by it.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import ClassVar

_MAX_CHARACTERS = 4000
_LEFT_OUT = " [...] "
_NOT_IN_A_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class LLMasOSError(Exception):
    """Root of the tree; its message is safe to show to a client.

    The message is one line. In names that it quotes from files or requests, control characters and
    invalid text are escaped, and the middle of a very long one is left out.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(_one_line(message if hint is None else f"{message}; {hint}"))
        self.hint = hint


class InvalidRequestError(LLMasOSError):
    """The request itself is wrong and will fail again."""

    code = "invalid_request"
    status = HTTPStatus.BAD_REQUEST


class UnsupportedFieldError(InvalidRequestError):
    """A field of the contract holds a value that this engine does not support."""

    code = "unsupported_field"


class QueueFullError(LLMasOSError):
    """The server is healthy but has no room; try later."""

    code = "queue_full"
    status = HTTPStatus.TOO_MANY_REQUESTS
    retryable = True


class EngineStoppedError(LLMasOSError):
    """The engine is gone (closed, or its process died); the request did not finish."""

    code = "engine_stopped"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    retryable = True


class ForkedProcessError(LLMasOSError):
    """An object that was made before a fork is used in the child, where it cannot work."""

    code = "forked_process"


class RequestTimeoutError(LLMasOSError):
    """The answer did not come within the time that the caller set."""

    code = "request_timeout"
    status = HTTPStatus.GATEWAY_TIMEOUT
    retryable = True


class DeadlineExceededError(LLMasOSError):
    """The request's own deadline_ms passed in the engine; a retry may miss it again."""

    code = "deadline_exceeded"
    status = HTTPStatus.GATEWAY_TIMEOUT


class CheckpointError(LLMasOSError):
    """A checkpoint is missing, damaged or in a format that is not supported."""

    code = "invalid_checkpoint"
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class UnsupportedArchitectureError(CheckpointError):
    """No definition of this network exists here."""

    code = "unsupported_architecture"


class PlanError(LLMasOSError):
    """An engine plan is missing, damaged or of another version."""

    code = "invalid_plan"
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class ServerError(LLMasOSError):
    """A Triton server could not be started, stopped by itself, or refused a request itself."""

    code = "server_error"
    status = HTTPStatus.SERVICE_UNAVAILABLE


def _one_line(message: str) -> str:
    if len(message) > _MAX_CHARACTERS:
        half = (_MAX_CHARACTERS - len(_LEFT_OUT)) // 2
        message = f"{message[:half]}{_LEFT_OUT}{message[-half:]}"
    return _NOT_IN_A_LINE.sub(lambda found: repr(found[0])[1:-1], message)
