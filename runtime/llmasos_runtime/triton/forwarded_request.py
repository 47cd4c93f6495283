"""One request of a classic-named model on its way through `engine`, and its answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from llmasos.contract.ensemble import OUTPUTS_PARAMETER
from llmasos.contract.tensor import Tensor
from llmasos.errors import LLMasOSError

from llmasos_runtime.triton.backend import Backend, BackendRequest, error_response
from llmasos_runtime.triton.classic_request import ClassicRequest, Inputs, has_beams
from llmasos_runtime.triton.ending_sender import EndingSender
from llmasos_runtime.triton.forwarding.call import EngineCall
from llmasos_runtime.triton.joined_rows import Values, joined_beams, joined_rows
from llmasos_runtime.triton.no_value import no_value
from llmasos_runtime.triton.parameters import read_parameters

_FINISH = "finish_reason"
_ROW = "batch_index"
_Result = TypeVar("_Result")


class ForwardedRequest:
    """Asks `engine` for each row, and sends what it answers with the row's `batch_index`.

    Outputs that hold nothing are left out, unless the client lists those that it wants.
    """

    def __init__(
        self,
        backend: Backend,
        request: BackendRequest,
        *,
        address: str,
        outputs: Sequence[Tensor],
        is_decoupled: bool,
    ) -> None:
        """address: see `engine_address`. outputs: those of the model, in their order."""
        self.sender = EndingSender(request.get_response_sender())
        self._backend = backend
        self._request = request
        self._address = address
        self._is_decoupled = is_decoupled
        self._outputs = outputs
        self._wanted: tuple[Tensor, ...] = ()
        self._asked: tuple[str, ...] = ()
        self._parameters: dict[str, Any] = {}
        self._num_rows = 0
        self._lock = threading.Lock()
        self._calls: list[EngineCall] = []
        self._is_stopped = False

    def run(self, request: ClassicRequest) -> None:
        """Returns when the last response is sent. Raises the error of `engine` if it has one."""
        self._parameters = read_parameters(self._request.parameters())
        listed = self._parameters.pop(OUTPUTS_PARAMETER, None)
        self._wanted = _wanted(self._request, listed, self._outputs)
        self._asked = (*{*(tensor.name for tensor in self._wanted), _FINISH},)
        self._num_rows = len(request.rows)
        is_one = self._num_rows == 1
        if not self._is_decoupled or (is_one and not request.streams and request.has_one_answer):
            answers = self._of_each_row(self._all_of_row, request)
            values = joined_rows([values for answer in answers for values in answer])
            self.sender.finish(self._response(values))
        elif is_one:
            self._stream(request.rows[0], has_one=request.has_one_answer)
        else:
            self._of_each_row(self._send_row, request)
            self.sender.finish()

    def stop(self) -> None:
        """Lets `engine` end it; no response follows but the last."""
        with self._lock:
            self._is_stopped = True
            for call in self._calls:
                call.close()

    def _of_each_row(
        self, work: Callable[[int, Inputs], _Result], request: ClassicRequest
    ) -> list[_Result]:
        """The rows at once, since each waits for the engine."""
        if self._num_rows == 1:
            return [work(0, request.rows[0])]
        with ThreadPoolExecutor(max(1, self._num_rows)) as pool:
            return list(pool.map(work, range(self._num_rows), request.rows))

    def _stream(self, inputs: Inputs, *, has_one: bool) -> None:
        """The last piece carries the final flag, where it is sure that no other follows."""
        for values in self._answers(0, inputs):
            if has_one and _FINISH in values and values[_FINISH].any():
                self.sender.finish(self._response(values))
                return
            self.sender.send(self._response(values))
        self.sender.finish()

    def _send_row(self, row: int, inputs: Inputs) -> None:
        try:
            for values in self._answers(row, inputs):
                self.sender.send(self._response(values))
        except LLMasOSError as error:  # of this row alone
            self.sender.send(error_response(self._backend, error))

    def _all_of_row(self, row: int, inputs: Inputs) -> list[Values]:
        return list(self._answers(row, inputs))

    def _answers(self, row: int, inputs: Inputs) -> Iterator[Values]:
        answers: Iterable[Values] = self._ask(inputs)
        if has_beams(inputs):
            answers = joined_beams(list(answers))
        for values in answers:
            if self._num_rows > 1:
                values[_ROW] = np.array([[row]], np.int32)
            yield values

    def _ask(self, inputs: Inputs) -> Iterator[Values]:
        """Yields the outputs in each response of `engine`; waits for it."""
        call = EngineCall(
            self._address,
            request_id=self._request.request_id(),
            parameters=self._parameters,
            outputs=self._asked,
            inputs=inputs,
        )
        with self._lock:
            self._calls.append(call)
            if self._is_stopped:
                call.close()
        return call.responses()

    def _response(self, values: Values) -> object:
        is_listed = len(self._wanted) < len(self._outputs)
        tensors = [
            self._backend.Tensor(tensor.name, values.get(tensor.name, no_value(tensor)))
            for tensor in self._wanted
            if is_listed or tensor.name in values
        ]
        return self._backend.InferenceResponse(output_tensors=tensors)


def _wanted(
    request: BackendRequest, listed: object, outputs: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """The outputs that the client asks for, in the order of the model: some clients rely on it."""
    names = set(request.requested_output_names())
    if isinstance(listed, str):
        names &= set(listed.split(","))
    return tuple(tensor for tensor in outputs if tensor.name in names)
