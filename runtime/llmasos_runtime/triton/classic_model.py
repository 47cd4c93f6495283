"""Triton's models with the classic names: each passes its requests on to `engine`.

They take requests of several rows, have the classic defaults, answer unary requests where they are
not decoupled, and tell `engine` when a client has gone, which Triton's ensembles cannot.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from llmasos.contract.tensor import Tensor
from llmasos.errors import LLMasOSError

from llmasos_runtime.triton.backend import Backend, BackendRequest, error_response
from llmasos_runtime.triton.classic_request import ClassicDefaults, ClassicRequest
from llmasos_runtime.triton.forwarded_request import ForwardedRequest
from llmasos_runtime.triton.forwarding.address import engine_address
from llmasos_runtime.triton.model_arguments import ModelArguments

_MAX_AT_ONCE = 4096
_LOOK_S = 0.01
_LOOK_PER_REQUEST_S = 0.0015
"""Asking Triton whether a client has gone takes tens of microseconds: 3% of a core at most."""
_log = logging.getLogger(__name__)


class ClassicModel:
    """Forwards each request in a thread of its own, and watches in one for clients that have gone.

    Every request gets exactly one response with the final flag.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        address: str,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        defaults: ClassicDefaults,
    ) -> None:
        """address: see `engine_address`. inputs, outputs: as the model declares them."""
        self._backend = backend
        self._address = address
        self._inputs = {tensor.name: tensor for tensor in inputs}
        self._outputs = tuple(outputs)
        self._defaults = defaults
        self._numbers = itertools.count()
        self._running: dict[int, ForwardedRequest] = {}
        self._pool = ThreadPoolExecutor(_MAX_AT_ONCE, thread_name_prefix="requests")
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="cancellation", daemon=True)
        self._watcher.start()

    @classmethod
    def of(
        cls,
        backend: Backend,
        arguments: ModelArguments,
        *,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
    ) -> ClassicModel:
        """Raises PlanError for a parameter that is neither true nor false."""
        return cls(
            backend,
            address=engine_address(arguments.directory.parents[1], "engine"),
            inputs=inputs,
            outputs=outputs,
            defaults=ClassicDefaults(
                is_decoupled=arguments.boolean("decoupled_mode") is not False,
                excludes_input=arguments.boolean("exclude_input_in_output") is True,
                includes_stop=arguments.boolean("include_stop_str_in_output") is not False,
            ),
        )

    def execute(self, requests: Sequence[BackendRequest]) -> list[None] | None:
        """Accepts requests; their responses follow from other threads.

        Triton wants None of a decoupled model, and a None for each request of any other.
        """
        for request in requests:
            self._accept(request)
        return None if self._defaults.is_decoupled else [None] * len(requests)

    def close(self) -> None:
        """Waits for the answers to all accepted requests."""
        self._pool.shutdown()
        self._closed.set()
        self._watcher.join()

    def _accept(self, request: BackendRequest) -> None:
        number = next(self._numbers)
        forwarded = ForwardedRequest(
            self._backend,
            request,
            address=self._address,
            outputs=self._outputs,
            is_decoupled=self._defaults.is_decoupled,
        )
        self._running[number] = forwarded
        self._pool.submit(self._forward, number, request, forwarded)

    def _forward(self, number: int, request: BackendRequest, forwarded: ForwardedRequest) -> None:
        """In a thread of the pool, which has nobody to raise to."""
        try:
            forwarded.run(ClassicRequest.of(request, self._inputs, self._defaults))
        except LLMasOSError as error:
            forwarded.sender.finish(error_response(self._backend, error))
        except Exception as error:  # noqa: BLE001 - one bad request must not fail others
            _log.exception("a request failed")
            internal = LLMasOSError(f"internal error: {type(error).__name__}: {error}")
            forwarded.sender.finish(error_response(self._backend, internal))
        finally:
            del self._running[number]

    def _watch(self) -> None:
        while not self._closed.wait(max(_LOOK_S, _LOOK_PER_REQUEST_S * len(self._running))):
            for forwarded in list(self._running.values()):
                self._look_at(forwarded)

    def _look_at(self, forwarded: ForwardedRequest) -> None:
        try:
            if forwarded.sender.is_cancelled():
                forwarded.stop()
        except Exception:  # noqa: BLE001 - the watch must go on, or nothing is cancelled
            _log.exception("a request could not be ended")
