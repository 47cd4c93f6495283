"""A deserialized engine, and contexts in which it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmasos.engine.engine_io import DECODE_PROFILE, STEP_TENSORS, is_cache, updated_cache
from llmasos.engine.plan_files import REBUILD
from llmasos.errors import LLMasOSError, PlanError
from llmasos.tensorrt_log import last_error, shared_log

from llmasos_runtime.tensorrt.cuda import Cuda, DeviceMemory, Stream
from llmasos_runtime.tensorrt.kv_slots import SlotCacheTensor
from llmasos_runtime.tensorrt.runtime_cache import RuntimeCache

_ITEM_BYTES = {"FLOAT": 4, "HALF": 2, "BF16": 2}


class TensorRTError(LLMasOSError):
    """TensorRT refused a step."""


class TensorRTEngine:
    """The state that all contexts share: the weights and the memory for activations.

    The contexts run one after the other on one stream, so one such memory is enough.

    library: tensorrt_rtx or tensorrt. Raises PlanError if the file cannot be loaded, TensorRTError
    if TensorRT does not start, CudaError if the GPU's memory does not suffice.
    """

    def __init__(self, library: Any, cuda: Cuda, file: Path, cache: RuntimeCache) -> None:
        self.library = library
        self._cache = cache
        try:
            self._runtime: Any = library.Runtime(shared_log(library))
        except TypeError as error:  # what the bindings make of no object
            raise TensorRTError(f"TensorRT does not start: {last_error(library)}") from error
        self._engine: Any = self._runtime.deserialize_cuda_engine(file.read_bytes())
        if self._engine is None:
            raise PlanError(f"{file} cannot be loaded: {last_error(library)}", hint=REBUILD)
        size = int(self._engine.device_memory_size_v2)
        self._scratch = DeviceMemory(cuda, size) if size else None  # last: nothing frees it yet

    def caches(self) -> tuple[SlotCacheTensor, ...]:
        """Its key and value caches. Raises PlanError for tensors that no step provides."""
        engine = self._engine
        names = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
        inputs = [name for name in names if is_cache(name)]
        outputs = {updated_cache(name) for name in inputs}
        strange = sorted(names.difference(inputs, outputs, STEP_TENSORS))
        if strange or not inputs:
            what = f"a tensor {strange[0]}" if strange else "no KV cache"
            raise PlanError(f"the engine has {what}, which this release cannot run", hint=REBUILD)
        return tuple(self._cache_tensor(name) for name in sorted(inputs))

    def _cache_tensor(self, name: str) -> SlotCacheTensor:
        _, heads, length, size = self._engine.get_tensor_shape(name)
        return SlotCacheTensor(
            input=name,
            output=updated_cache(name),
            slot_shape=(heads, length, size),
            item_bytes=_ITEM_BYTES[self._engine.get_tensor_dtype(name).name],
        )

    def context(self, profile: int, stream: Stream) -> Context:
        """Makes a context. A decode context meets few shapes, each of which is worth its own
        kernels, and is captured with those that it has then, so they are compiled before the first
        step.
        """
        library = self.library
        context = self._engine.create_execution_context(self._config(profile))
        if context is None:
            raise TensorRTError(f"TensorRT cannot make a context: {last_error(library)}")
        if self._scratch is not None:
            context.set_device_memory(self._scratch.address, self._scratch.num_bytes)
        return Context(library, context, profile, stream)

    def _config(self, profile: int) -> Any:
        """Returns an IRuntimeConfig for one context alone: a context may read its own later."""
        config, library = self._engine.create_runtime_config(), self.library
        strategies = library.ExecutionContextAllocationStrategy
        config.set_execution_context_allocation_strategy(strategies.USER_MANAGED)
        self._cache.give_to(config)
        if hasattr(library, "DynamicShapesKernelSpecializationStrategy"):  # TensorRT-RTX
            kinds = library.DynamicShapesKernelSpecializationStrategy
            kind = kinds.EAGER if profile == DECODE_PROFILE else kinds.LAZY
            config.dynamic_shapes_kernel_specialization_strategy = kind
        return config

    def close(self) -> None:
        """Frees the engine; all its contexts must be closed."""
        if self._engine is not None:
            self._cache.save()
            self._engine = self._runtime = None
            if self._scratch is not None:
                self._scratch.close()


class Context:
    """Runs one optimization profile; it remembers bindings, to set only those that change."""

    def __init__(self, library: Any, context: Any, profile: int, stream: Stream) -> None:
        self._library = library
        self._context: Any = context
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._stream = stream
        handle = int(stream.handle)
        self._check(context.set_optimization_profile_async(profile, handle), "its profile")
        stream.synchronize()

    def bind(self, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]) -> None:
        """Sets the addresses of inputs and outputs, and the shapes of inputs."""
        for name, shape in shapes.items():
            if self._shapes.get(name) != shape:
                self._check(self._context.set_input_shape(name, shape), f"{name} {list(shape)}")
                self._shapes[name] = shape
        for name, address in addresses.items():
            if self._addresses.get(name) != address:
                self._check(self._context.set_tensor_address(name, address), f"{name}'s address")
                self._addresses[name] = address

    def enqueue(self) -> None:
        self._check(self._context.execute_async_v3(int(self._stream.handle)), "a step")

    def close(self) -> None:
        self._context = None

    def _check(self, accepted: bool, what: str) -> None:
        if not accepted:
            raise TensorRTError(f"TensorRT refuses {what}: {last_error(self._library)}")
