"""TensorRT's runtime over `fake_cuda`: it computes a real network with the numpy interpreter.

It refuses what TensorRT refuses, and raises for what TensorRT leaves undefined: tensors that
are not aligned, a cache whose input and output differ, a graph whose context was touched.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
import pytest
from fake_cuda import FakeCuda
from llmasos_builder.tensorrt.interpreter import Interpreter
from llmasos_builder.tensorrt.network import TensorRTGraph

real: Any = pytest.importorskip("tensorrt_rtx")
SCRATCH_BYTES = 4096
ENGINE = b"an engine"
_NUMPY = {"FLOAT": np.float32, "HALF": np.float16, "INT32": np.int32}


class FakeLogger:
    class Severity(Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3

    def log(self, severity: Any, message: str) -> None:
        raise NotImplementedError


class FakeLibrary:
    """A module like tensorrt_rtx, that knows one engine.."""

    __name__ = "tensorrt_rtx"
    ILogger = FakeLogger
    ExecutionContextAllocationStrategy = real.ExecutionContextAllocationStrategy
    DynamicShapesKernelSpecializationStrategy = real.DynamicShapesKernelSpecializationStrategy

    def __init__(self, cuda: FakeCuda, graph: TensorRTGraph) -> None:
        self.cuda = cuda
        self.graph = graph
        self.interpreter = Interpreter(graph.definition, graph.constants)
        self.refuses_capture = False
        self.most_contexts = 1000
        self.contexts: list[FakeContext] = []
        self.cache_blobs: list[bytes] = []

    @property
    def _runtime_class(self) -> type[FakeRuntime]:
        return FakeRuntime

    def Runtime(self, logger: FakeLogger) -> FakeRuntime:  # noqa: N802 - TensorRT's name
        return self._runtime_class(self, logger)


class FakeRuntime:
    @property
    def _engine_class(self) -> type[FakeEngine]:
        return FakeEngine

    def __init__(self, library: FakeLibrary, logger: FakeLogger) -> None:
        self._library = library
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> FakeEngine | None:
        if serialized_engine != ENGINE:
            self._logger.log(FakeLogger.Severity.ERROR, "the magic tag does not match")
            return None
        return self._engine_class(self._library)


class FakeCache:
    def __init__(self, library: FakeLibrary) -> None:
        self._library = library

    def deserialize(self, blob: bytes) -> bool:
        self._library.cache_blobs.append(blob)
        return blob.startswith(b"kernels")

    def serialize(self) -> bytes:
        return b"kernels"


class FakeConfig:
    def __init__(self, library: FakeLibrary) -> None:
        self._library = library
        self.dynamic_shapes_kernel_specialization_strategy: Any = None
        self.cache: FakeCache | None = None
        self.num_contexts = 0
        self._allocation: Any = None

    def create_runtime_cache(self) -> FakeCache:
        return FakeCache(self._library)

    def set_runtime_cache(self, cache: FakeCache) -> bool:
        self.cache = cache
        return True

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self._allocation = strategy

    def get_execution_context_allocation_strategy(self) -> Any:
        return self._allocation


class FakeEngine:
    @property
    def _context_class(self) -> type[FakeContext]:
        return FakeContext

    def __init__(self, library: FakeLibrary) -> None:
        definition = library.graph.definition
        self._library = library
        self._inputs = [definition.get_input(i) for i in range(definition.num_inputs)]
        self._outputs = [definition.get_output(i) for i in range(definition.num_outputs)]
        self._tensors = {t.name: t for t in (*self._inputs, *self._outputs)}
        self.device_memory_size_v2 = SCRATCH_BYTES

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        names: list[str] = list(self._tensors)
        return names[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def get_tensor_dtype(self, name: str) -> Any:
        return self._tensors[name].dtype

    def create_runtime_config(self) -> FakeConfig:
        return FakeConfig(self._library)

    def create_execution_context(self, runtime_config: FakeConfig) -> FakeContext | None:
        if len(self._library.contexts) >= self._library.most_contexts:
            return None
        strategies = real.ExecutionContextAllocationStrategy
        owned = runtime_config.get_execution_context_allocation_strategy()
        assert owned == strategies.USER_MANAGED, "each context would allocate for itself"
        inputs, outputs = ([t.name for t in ts] for ts in (self._inputs, self._outputs))
        context = self._context_class(self, self._library, inputs, outputs)
        context.config = runtime_config
        context.kernels = runtime_config.dynamic_shapes_kernel_specialization_strategy
        runtime_config.num_contexts += 1
        assert runtime_config.num_contexts == 1, "two contexts share what one may change"
        assert runtime_config.cache is not None, "a context that keeps no kernels"
        self._library.contexts.append(context)
        return context


class FakeContext:
    def __init__(
        self, engine: FakeEngine, library: FakeLibrary, inputs: list[str], outputs: list[str]
    ) -> None:
        self._engine = engine
        self._library = library
        self._cuda = library.cuda
        self._inputs, self._outputs = inputs, outputs
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._scratch: tuple[int, int] | None = None
        self._profile: Any = None
        self._version = 0
        self._is_settled = False  # it has run since its shapes changed
        self.kernels: Any = None
        self.config: FakeConfig | None = None
        self.num_enqueued = 0

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= SCRATCH_BYTES
        self._scratch = memory, size

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._profile = self._library.graph.profiles[profile_index]
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._profile.get_shape(name)
        self._shapes[name] = shape
        self._version += 1
        self._is_settled = False
        return len(shape) == len(least) and all(
            low <= size <= high for low, size, high in zip(least, shape, most, strict=True)
        )

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert memory % 256 == 0, f"{name} is not aligned"
        assert name in (*self._inputs, *self._outputs), f"{name} is no tensor"
        self._addresses[name] = memory
        self._version += 1
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        is_capturing = self._cuda.is_capturing(stream_handle)
        if is_capturing and (self._library.refuses_capture or not self._is_settled):
            return False
        missing = {*self._inputs, *self._outputs} - self._addresses.keys()
        assert not missing, f"no address: {missing}"
        assert not set(self._inputs) - self._shapes.keys(), "an input has no shape"
        assert self._scratch is not None, "no memory for what is between the layers"
        for name in self._outputs:
            kept = name.replace("_cache_out.", "_cache.")
            assert self._addresses[kept] == self._addresses[name], f"{name} is another memory"
        shapes, addresses, version = dict(self._shapes), dict(self._addresses), self._version

        def work() -> None:
            assert not is_capturing or version == self._version, "a graph's context was touched"
            self._compute(shapes, addresses)

        self._cuda.enqueue(stream_handle, work)
        self._is_settled = True
        self.num_enqueued += 1
        return True

    def _compute(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        assert self._scratch is not None
        self._cuda.view(*self._scratch)[:] = 0xFF
        feeds = {name: self._tensor(name, shapes[name], addresses) for name in self._inputs}
        results = self._library.interpreter.run({k: v.copy() for k, v in feeds.items()})
        for name, result in results.items():
            self._tensor(name, result.shape, addresses)[...] = result

    def _tensor(self, name: str, shape: tuple[int, ...], addresses: dict[str, int]) -> Any:
        dtype = self._dtype_of(name)
        size = int(np.prod(shape)) * dtype.itemsize
        return self._cuda.view(addresses[name], size).view(dtype).reshape(shape)

    def _dtype_of(self, name: str) -> np.dtype[Any]:
        return np.dtype(_NUMPY[self._engine.get_tensor_dtype(name).name])
