"""TensorRT's runtime over the real CUDA of this machine, with the network computed in numpy.

Every allocation, copy, stream and event is CUDA's own; only the kernels are not. So it shows on a
GPU that TensorRT does not serve whether the runner's use of CUDA is right. It computes while the
host waits, which no graph can hold: it refuses to be captured, as TensorRT may.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fake_tensorrt import FakeContext, FakeEngine, FakeLibrary, FakeRuntime
from llmasos_runtime.tensorrt.cuda import Cuda, load_cuda
from made_trt_engine import MadeGPU


class _RealCuda:
    """What FakeContext asks of a fake CUDA, asked of the real one."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda

    def is_capturing(self, stream: int) -> bool:
        status = self.cuda.call("cudaStreamIsCapturing", stream)
        none = self.cuda.library.cudaStreamCaptureStatus.cudaStreamCaptureStatusNone
        return bool(status != none)

    def enqueue(self, stream: int, work: Callable[[], None]) -> None:
        self.cuda.call("cudaStreamSynchronize", stream)
        work()

    def read(self, address: int, num_bytes: int) -> Any:
        array = np.empty(num_bytes, np.uint8)
        kind = self.cuda.library.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.cuda.call("cudaMemcpy", array.ctypes.data, address, num_bytes, kind)
        return array

    def write(self, address: int, array: Any) -> None:
        kind = self.cuda.library.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.cuda.call("cudaMemcpy", address, array.ctypes.data, array.nbytes, kind)


class _Context(FakeContext):
    def _compute(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        cuda: Any = self._cuda
        assert self._scratch is not None
        cuda.cuda.call("cudaMemset", self._scratch[0], 0xFF, self._scratch[1])
        feeds = {name: self._tensor(name, shapes[name], addresses) for name in self._inputs}
        for name, result in self._library.interpreter.run(feeds).items():
            like = self._tensor(name, result.shape, addresses)
            cuda.write(addresses[name], np.ascontiguousarray(result, dtype=like.dtype))

    def _tensor(self, name: str, shape: tuple[int, ...], addresses: dict[str, int]) -> Any:
        cuda: Any = self._cuda
        dtype = self._dtype_of(name)
        size = int(np.prod(shape)) * dtype.itemsize
        return cuda.read(addresses[name], size).view(dtype).reshape(shape)


class _Engine(FakeEngine):
    @property
    def _context_class(self) -> type[FakeContext]:
        return _Context


class _Runtime(FakeRuntime):
    @property
    def _engine_class(self) -> type[FakeEngine]:
        return _Engine


class _Library(FakeLibrary):
    @property
    def _runtime_class(self) -> type[FakeRuntime]:
        return _Runtime


def made_on_cuda(checkpoint: Path, directory: Path, **changes: Any) -> tuple[MadeGPU, Cuda]:
    """A checkpoint's network over the first real GPU; changes: as for `MadeGPU`."""
    gpu, cuda = MadeGPU(checkpoint, directory, **changes), load_cuda()
    real: Any = _RealCuda(cuda)
    gpu.library = _Library(real, gpu.graph)
    gpu.bindings = cuda
    return gpu, cuda
