"""The part of `triton_python_backend_utils` that the models use.

Triton provides that module only to its Python processes, so the models get it as an argument,
and tests pass another.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Protocol

from llmasos.error_codes import error_text
from llmasos.errors import LLMasOSError
from numpy.typing import NDArray

_UNAVAILABLE = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,  # as Triton's own for a request that waited too long
)
FINAL = 1
"""TRITONSERVER_RESPONSE_COMPLETE_FINAL: no response follows."""


class BackendTensor(Protocol):
    def name(self) -> str: ...
    def as_numpy(self) -> NDArray[Any]: ...


class ResponseSender(Protocol):
    def send(self, response: object = None, flags: int = 0) -> None: ...
    def is_cancelled(self) -> bool: ...


class BackendRequest(Protocol):
    def inputs(self) -> Sequence[BackendTensor]: ...
    def request_id(self) -> str: ...
    def parameters(self) -> str: ...  # a JSON object, or nothing
    def requested_output_names(self) -> Sequence[str]: ...
    def get_response_sender(self) -> ResponseSender: ...


class Backend(Protocol):
    """The module; its classes come from C++ without types."""

    Tensor: Any
    InferenceRequest: Any
    InferenceResponse: Any
    TritonError: Any
    MetricFamily: Any


def error_response(backend: Backend, error: LLMasOSError) -> object:
    """Returns the response of an error; Triton makes its gRPC and HTTP status from the code."""
    errors = backend.TritonError
    code = errors.INTERNAL
    if error.status is HTTPStatus.BAD_REQUEST:
        code = errors.INVALID_ARG
    elif error.status in _UNAVAILABLE:
        code = errors.UNAVAILABLE
    return backend.InferenceResponse(output_tensors=[], error=errors(error_text(error), code))
