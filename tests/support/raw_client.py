"""Requests as any Triton client sends them, with every tensor under the test's control."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from queue import Queue
from types import TracebackType
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from llmasos.contract import ENGINE_INPUTS, ENSEMBLE_INPUTS, DataType
from numpy.typing import NDArray

_NUMPY: dict[DataType, Any] = {
    DataType.STRING: np.object_,
    DataType.BOOL: np.bool_,
    DataType.INT32: np.int32,
    DataType.UINT64: np.uint64,
    DataType.FP32: np.float32,
}
_TYPES = {("ensemble", tensor.name): tensor.type for tensor in ENSEMBLE_INPUTS} | {
    ("engine", tensor.name): tensor.type for tensor in ENGINE_INPUTS
}


class RawClient:
    """One gRPC stream, used for one request at a time."""

    def __init__(self, url: str) -> None:
        self._client = triton.InferenceServerClient(url.removeprefix("grpc://"))
        self._answers: Queue[tuple[Any, Any]] = Queue()
        self._client.start_stream(lambda result, error: self._answers.put((result, error)))

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.stop_stream(cancel_requests=True)
        self._client.close()

    def send(self, model: str, *, request_id: str = "", **values: Any) -> None:
        inputs = [_input(model, name, value) for name, value in values.items()]
        self._client.async_stream_infer(
            model, inputs, request_id=request_id, enable_empty_final_response=True
        )

    def responses(self) -> Iterator[dict[str, Any]]:
        """Responses with data until the final one; raises InferenceServerException."""
        while True:
            result, error = self._answers.get(timeout=60)
            if error is not None:
                raise error
            message = result.get_response()
            values = {
                output.name: result.as_numpy(output.name).reshape(-1).tolist()
                for output in message.outputs
            }
            if values:
                yield values
            if message.parameters["triton_final_response"].bool_param:
                return

    def ask(self, model: str, *, request_id: str = "", **values: Any) -> list[dict[str, Any]]:
        self.send(model, request_id=request_id, **values)
        return list(self.responses())


def _input(model: str, name: str, value: Any) -> Any:
    data_type = _TYPES[model, name]
    array: NDArray[Any] = value if isinstance(value, np.ndarray) else _array(value, data_type)
    kind = "BYTES" if data_type is DataType.STRING else data_type.name
    tensor = triton.InferInput(name, list(array.shape), kind)
    tensor.set_data_from_numpy(array)
    return tensor


def _array(value: Any, data_type: DataType) -> NDArray[Any]:
    values = value if isinstance(value, list) else [value]
    if data_type is DataType.STRING:
        values = [v.encode() if isinstance(v, str) else v for v in values]
    return np.array([values], _NUMPY[data_type])


def text_of(responses: list[dict[str, Any]]) -> str:
    return b"".join(response["text_output"][0] for response in responses).decode()


def post(url: str, **body: Any) -> str:
    """POST of JSON; raises HTTPError."""
    request = urllib.request.Request(url, data=json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as response:
        return str(response.read().decode())


def refusal(url: str, **body: Any) -> tuple[int, str]:
    """Status and text of the error that answers a POST of JSON."""
    try:
        post(url, **body)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    raise AssertionError(f"{url} was not refused")


def gauge(metrics_url: str, name: str, **labels: str) -> float:
    """A value of the page that Prometheus reads."""
    with urllib.request.urlopen(metrics_url, timeout=10) as response:
        page = response.read().decode()
    for line in page.splitlines():
        if line.startswith(name + "{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
            return float(re.split(r"\s+", line)[-1])
    raise AssertionError(f"{name} {labels} is not among the metrics")
