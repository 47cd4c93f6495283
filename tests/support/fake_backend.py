"""What Triton's Python backend gives to a model, small enough to look into."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from llmasos.error_codes import error_of_text
from llmasos_runtime.triton.backend import FINAL
from numpy.typing import NDArray


class FakeTensor:
    def __init__(self, name: str, array: NDArray[Any]) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> NDArray[Any]:
        return self._array


class FakeError:
    INVALID_ARG = "invalid argument"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"

    def __init__(self, text: str, code: str) -> None:
        """text: begins with the code of one of our errors, which is `kind`."""
        assert text.startswith("["), f"an error without its code: {text}"
        error = error_of_text(text)
        self.kind, self.message, self.code = type(error), str(error), code


class FakeResponse:
    def __init__(
        self, output_tensors: Sequence[FakeTensor] = (), error: FakeError | None = None
    ) -> None:
        self.values = {tensor.name(): tensor.as_numpy() for tensor in output_tensors}
        self.error = error


class FakeMetricFamily:
    """values: what each metric shows, by its labels."""

    GAUGE, COUNTER = "gauge", "counter"
    values: ClassVar[dict[str, float]] = {}

    def __init__(self, *, name: str, description: str, kind: str) -> None:
        self._name, self._kind = name, kind

    def Metric(self, labels: Mapping[str, str]) -> FakeMetric:  # noqa: N802 - Triton's name
        name = f"{self._name} {list(labels.values())[-1]}"
        return FakeMetric(name, counts=self._kind == self.COUNTER)


class FakeMetric:
    """A counter can only be added to, as Triton's."""

    def __init__(self, name: str, *, counts: bool) -> None:
        self._name, self._counts = name, counts

    def set(self, value: float) -> None:
        assert not self._counts
        FakeMetricFamily.values[self._name] = value

    def increment(self, value: float) -> None:
        assert self._counts and value > 0
        FakeMetricFamily.values[self._name] = FakeMetricFamily.values.get(self._name, 0) + value


@dataclass
class FakeInferenceRequest:
    """What one model asks another; nobody answers."""

    model_name: str
    requested_output_names: Sequence[str]
    inputs: Sequence[FakeTensor]

    def exec(self) -> object:
        raise RuntimeError("no other model runs here")


class FakeBackend:
    InferenceRequest = FakeInferenceRequest
    MetricFamily = FakeMetricFamily
    Tensor = FakeTensor
    InferenceResponse = FakeResponse
    TritonError = FakeError


@dataclass
class FakeSender:
    """Keeps what is sent; nothing may follow the final flag."""

    responses: list[FakeResponse] = field(default_factory=list)
    final: threading.Event = field(default_factory=threading.Event)
    cancelled: bool = False
    broken: bool = False

    def send(self, response: object = None, flags: int = 0) -> None:
        assert not self.final.is_set(), "a response after the last one"
        if self.broken and response is not None:
            raise RuntimeError("out of shared memory")
        if response is not None:
            assert isinstance(response, FakeResponse)
            self.responses.append(response)
        if flags & FINAL:
            self.final.set()

    def is_cancelled(self) -> bool:
        assert not self.final.is_set(), "Triton crashes when it is asked after the last response"
        return self.cancelled

    def error(self) -> FakeError:
        error = self.responses[-1].error
        assert error is not None
        return error


class FakeRequest:
    def __init__(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        request_id: str = "",
        outputs: Sequence[str] = ("output_ids",),
        parameters: Mapping[str, object] | None = None,
    ) -> None:
        self._inputs = [FakeTensor(name, array) for name, array in inputs.items()]
        self._request_id = request_id
        self._outputs = outputs
        self._parameters = parameters
        self.sender = FakeSender()

    def inputs(self) -> Sequence[FakeTensor]:
        return self._inputs

    def request_id(self) -> str:
        return self._request_id

    def parameters(self) -> str:
        return json.dumps(self._parameters) if self._parameters else ""

    def requested_output_names(self) -> Sequence[str]:
        return self._outputs

    def get_response_sender(self) -> FakeSender:
        return self.sender


def tensor(value: Any) -> NDArray[Any]:
    """A Python value as Triton gives it to a model: [1, n], strings as bytes."""
    if isinstance(value, np.ndarray):
        return value[None]
    values = value if isinstance(value, list) else [value]
    if values and isinstance(values[0], str | bytes):
        encoded = [v.encode() if isinstance(v, str) else v for v in values]
        return np.array([encoded], np.object_)
    if values and isinstance(values[0], bool):
        return np.array([values], np.bool_)
    floats = bool(values) and isinstance(values[0], float)
    return np.array([values], np.float32 if floats else np.int32)
