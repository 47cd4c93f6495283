"""Tensors, requests and responses of the engine's model that never come near Triton.

They have the form of those of `triton_python_backend_utils`, so that the model handles both alike.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from llmasos_runtime.triton.backend import ResponseSender


class Tensor:
    """An output, or an input."""

    def __init__(self, name: str, array: NDArray[Any]) -> None:
        self._name = name
        self._array = array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> NDArray[Any]:
        return self._array


class TritonError:
    """text: begins with the code of the error; see `llmasos.error_codes`."""

    INTERNAL = "internal"
    INVALID_ARG = "invalid argument"
    UNAVAILABLE = "unavailable"

    def __init__(self, text: str, code: str = INTERNAL) -> None:
        self.text = text
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceResponse:
    output_tensors: Sequence[Tensor] = ()
    error: TritonError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardedRequest:
    """A request that came over the socket; sender takes its responses."""

    tensors: Sequence[Tensor]
    client_id: str
    said: dict[str, Any] = field(default_factory=dict[str, Any])
    outputs: Sequence[str]
    sender: ResponseSender

    def inputs(self) -> Sequence[Tensor]:
        return self.tensors

    def request_id(self) -> str:
        return self.client_id

    def parameters(self) -> str:
        return json.dumps(self.said)

    def requested_output_names(self) -> Sequence[str]:
        return self.outputs

    def get_response_sender(self) -> ResponseSender:
        return self.sender


class PlainBackend:
    """What stands for the module."""

    Tensor: Any = Tensor
    InferenceRequest: Any = None
    InferenceResponse: Any = InferenceResponse
    TritonError: Any = TritonError
    MetricFamily: Any = None
