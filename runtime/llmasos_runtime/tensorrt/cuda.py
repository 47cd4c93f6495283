"""CUDA's runtime through NVIDIA's own bindings: every call checked, every object owned.

An object's `close` frees it and may be called again; nothing is left to the garbage collector,
since the order matters. Tests run it over a fake that detects use after free, double free and
leaks, and over the real CUDA where there is a GPU.
"""

from __future__ import annotations

import ctypes
import importlib
from typing import Any

import numpy as np
from llmasos.errors import LLMasOSError, PlanError
from numpy.typing import NDArray

_MODULE = "cuda.bindings.runtime"


class CudaError(LLMasOSError):
    """A call to CUDA failed."""


class Cuda:
    """library: cuda.bindings.runtime, or an object with its functions."""

    def __init__(self, library: Any) -> None:
        self.library = library

    def call(self, function: str, *arguments: Any) -> Any:
        """Returns a function's results without its status. Raises CudaError."""
        status, *results = getattr(self.library, function)(*arguments)
        if status != self.library.cudaError_t.cudaSuccess:
            _, text = self.library.cudaGetErrorString(status)
            reason = text.decode() if isinstance(text, bytes) else text
            raise CudaError(f"CUDA's {function} fails: {status.name}, {reason}")
        return results[0] if len(results) == 1 else tuple(results)

    def memory_info(self) -> tuple[int, int]:
        """Free and total bytes of the GPU."""
        free, total = self.call("cudaMemGetInfo")
        return int(free), int(total)


def load_cuda() -> Cuda:
    """Raises PlanError if the bindings are not installed, or cannot be loaded."""
    try:
        return Cuda(importlib.import_module(_MODULE))
    except (ImportError, OSError) as error:
        raise PlanError(
            f"{_MODULE} cannot be loaded: {error}",
            hint="pip install 'llmasos[tensorrt-rtx]' or 'llmasos[tensorrt]'",
        ) from error


def _allocated(cuda: Cuda, function: str, num_bytes: int) -> int:
    """Returns the address. Raises CudaError, with the size that was asked for."""
    try:
        return int(cuda.call(function, num_bytes))
    except CudaError as error:
        raise CudaError(f"{error} ({num_bytes} bytes were asked for)") from error


class DeviceMemory:
    """Bytes on the GPU, at an address that is a multiple of 256. Their content is undefined."""

    def __init__(self, cuda: Cuda, num_bytes: int) -> None:
        self._cuda = cuda
        self.num_bytes = num_bytes
        self.address = _allocated(cuda, "cudaMalloc", num_bytes)

    def zero(self, stream: Stream) -> None:
        self._cuda.call("cudaMemsetAsync", self.address, 0, self.num_bytes, stream.handle)

    def close(self) -> None:
        if self.address:
            self._cuda.call("cudaFree", self.address)
            self.address = 0


class PinnedMemory:
    """Bytes of the host that the GPU can read and write itself. array: the bytes."""

    def __init__(self, cuda: Cuda, num_bytes: int) -> None:
        self._cuda = cuda
        self.num_bytes = num_bytes
        self.address = _allocated(cuda, "cudaMallocHost", num_bytes)
        content = (ctypes.c_uint8 * num_bytes).from_address(self.address)
        self.array: NDArray[np.uint8] = np.ctypeslib.as_array(content)

    def close(self) -> None:
        if self.address:
            self.array = np.empty(0, np.uint8)
            self._cuda.call("cudaFreeHost", self.address)
            self.address = 0


class Stream:
    """Work that the GPU does in order, while the host goes on."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._stream = cuda.call("cudaStreamCreateWithFlags", cuda.library.cudaStreamNonBlocking)
        self._kinds = cuda.library.cudaMemcpyKind
        self._is_open = True

    @property
    def handle(self) -> Any:
        return self._stream

    def copy_in(self, to: DeviceMemory, source: PinnedMemory, num_bytes: int) -> None:
        """Copies the first bytes of host memory to the GPU."""
        self._copy(to.address, source.address, num_bytes, self._kinds.cudaMemcpyHostToDevice)

    def copy_out(self, to: int, source: int, num_bytes: int) -> None:
        """Copies from an address on the GPU to one in pinned memory."""
        self._copy(to, source, num_bytes, self._kinds.cudaMemcpyDeviceToHost)

    def copy_rows(
        self,
        memory: DeviceMemory,
        *,
        row_bytes: int,
        num_rows: int,
        source: int,
        target: int,
        size: tuple[int, int, int],
    ) -> None:
        """Copies rows within memory made of layers of rows, from one row to another.

        num_rows: rows of a layer. size: bytes of a row, rows, and layers to copy, from the first
        byte and the first layer on.
        """
        library = self._cuda.library
        rows = library.make_cudaPitchedPtr(memory.address, row_bytes, row_bytes, num_rows)
        parameters = library.cudaMemcpy3DParms()
        parameters.srcPtr = parameters.dstPtr = rows
        parameters.srcPos = library.make_cudaPos(0, source, 0)
        parameters.dstPos = library.make_cudaPos(0, target, 0)
        parameters.extent = library.make_cudaExtent(*size)
        parameters.kind = self._kinds.cudaMemcpyDeviceToDevice
        self._cuda.call("cudaMemcpy3DAsync", parameters, self._stream)

    def _copy(self, to: int, source: int, num_bytes: int, kind: Any) -> None:
        self._cuda.call("cudaMemcpyAsync", to, source, num_bytes, kind, self._stream)

    def synchronize(self) -> None:
        self._cuda.call("cudaStreamSynchronize", self._stream)

    def begin_capture(self) -> None:
        """Records the following work for a graph instead of running it."""
        modes = self._cuda.library.cudaStreamCaptureMode
        mode = modes.cudaStreamCaptureModeThreadLocal
        self._cuda.call("cudaStreamBeginCapture", self._stream, mode)

    def end_capture(self) -> CudaGraph:
        """Returns the recorded graph. Raises CudaError if recording failed; the stream stays
        usable.
        """
        try:
            graph = self._cuda.call("cudaStreamEndCapture", self._stream)
            try:
                return CudaGraph(self._cuda, self._cuda.call("cudaGraphInstantiate", graph, 0))
            finally:
                self._cuda.call("cudaGraphDestroy", graph)
        except CudaError:
            self._cuda.library.cudaGetLastError()  # TensorRT would take it for its own
            raise

    def abandon_capture(self) -> None:
        """Ends a capture that failed and clears its error."""
        _, graph = self._cuda.library.cudaStreamEndCapture(self._stream)
        if graph is not None and int(graph):
            self._cuda.call("cudaGraphDestroy", graph)
        self._cuda.library.cudaGetLastError()

    def close(self) -> None:
        if self._is_open:
            self._cuda.call("cudaStreamDestroy", self._stream)
            self._is_open = False


class Event:
    """A point in a stream's work to wait for."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        flags = cuda.library.cudaEventDisableTiming
        self._event = cuda.call("cudaEventCreateWithFlags", flags)
        self._is_open = True

    def record(self, stream: Stream) -> None:
        self._cuda.call("cudaEventRecord", self._event, stream.handle)

    def synchronize(self) -> None:
        """Waits until the GPU has reached it."""
        self._cuda.call("cudaEventSynchronize", self._event)

    def close(self) -> None:
        if self._is_open:
            self._cuda.call("cudaEventDestroy", self._event)
            self._is_open = False


class CudaGraph:
    """Captured work of a stream that is launched as one."""

    def __init__(self, cuda: Cuda, executable: Any) -> None:
        self._cuda = cuda
        self._executable = executable
        self._is_open = True

    def launch(self, stream: Stream) -> None:
        self._cuda.call("cudaGraphLaunch", self._executable, stream.handle)

    def close(self) -> None:
        if self._is_open:
            self._cuda.call("cudaGraphExecDestroy", self._executable)
            self._is_open = False
