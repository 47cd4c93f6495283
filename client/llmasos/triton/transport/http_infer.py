"""One POST to Triton's `infer` for each request of whole texts, in threads of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any

import numpy as np

from llmasos.error_codes import error_of_text
from llmasos.errors import EngineStoppedError
from llmasos.triton.transport.asked_model import ENGINE
from llmasos.triton.transport.base import CLOSED, Deadline
from llmasos.triton.transport.encoding_tensors import EncodingRequest, Values
from llmasos.triton.transport.http_events import json_object
from llmasos.triton.transport.triton_http import error_of_connection

_AT_ONCE = 16
_TYPES = {"FP32": np.float32, "INT32": np.int32, "BYTES": np.object_}


class HttpInfer:
    """address: host:port. model: which is asked. timeout_s: for each answer."""

    def __init__(self, address: str, *, model: str | None, timeout_s: float | None) -> None:
        self._address = address
        self._path = f"/v2/models/{model or ENGINE}/infer"
        self._timeout_s = timeout_s
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="infer")

    def infer(self, request: EncodingRequest) -> Future[Values]:
        """See InferConnection."""
        try:
            return self._pool.submit(self._ask, json.dumps(_body(request)))
        except RuntimeError as error:  # it is shut down
            raise EngineStoppedError(CLOSED) from error

    def close(self) -> None:
        """See InferConnection."""
        self._pool.shutdown(cancel_futures=True)

    def _ask(self, body: str) -> Values:
        deadline = Deadline.after(self._timeout_s)
        connection = HTTPConnection(self._address, timeout=self._timeout_s)
        try:
            connection.request("POST", self._path, body)
            response = connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            raise error_of_connection(error, deadline) from error
        finally:
            connection.close()
        found = json_object(content)
        if response.status != HTTPStatus.OK:
            refused = response.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)
            raise error_of_text(str(found.get("error", content[:200])), refused=refused)
        return {
            one["name"]: np.array(one["data"], _TYPES[one["datatype"]]).reshape(one["shape"])
            for one in found["outputs"]
        }


def _body(request: EncodingRequest) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "name": name,
                "shape": [len(values)],
                "datatype": _datatype(values),
                "data": list(values),
            }
            for name, values in request.inputs.items()
        ]
    }


def _datatype(values: Sequence[Any]) -> str:
    if not values or isinstance(values[0], str):
        return "BYTES"
    return "BOOL" if isinstance(values[0], bool) else "INT32"
