"""CUDA's runtime over memory of the host, as strict as a GPU is silent.

Work is done when it is waited for, and not before; what a copy will overwrite is garbage until
then. So work in the wrong order, and results read too early, show in the results. A range that
is not allocated, or not any more, an unpinned copy and a second free raise at once.
"""

# ruff: noqa: N802, N815 - the names are CUDA's
from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import isfunction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

real: Any = pytest.importorskip("cuda.bindings.runtime")
_ALIGNMENT = 256
_GARBAGE = 0xFF  # NaN in any floating-point type, and no token
_OK = real.cudaError_t.cudaSuccess
Work = Callable[[], None]


@dataclass
class Block:
    """One allocation; the memory stays here when it is freed, so that no address comes twice."""

    address: int
    num_bytes: int
    kind: str
    is_live: bool = True
    memory: Any = field(default=None, repr=False)


class Handle:
    """Of a stream, event, graph or executable graph; it converts to int as the real ones do."""

    def __init__(self, number: int, kind: str) -> None:
        self.number = number
        self.kind = kind
        self.is_live = True
        self.work: list[Work] = []
        self.capture: list[Work] | None = None
        self.position = 0

    def __int__(self) -> int:
        return self.number


class FakeCuda:
    """total_bytes: of the GPU. fails: the status of every call of a function by its name."""

    cudaError_t = real.cudaError_t
    cudaMemcpyKind = real.cudaMemcpyKind
    cudaStreamCaptureMode = real.cudaStreamCaptureMode
    cudaDeviceAttr = real.cudaDeviceAttr
    cudaMemcpy3DParms = real.cudaMemcpy3DParms
    make_cudaPitchedPtr = staticmethod(real.make_cudaPitchedPtr)
    make_cudaPos = staticmethod(real.make_cudaPos)
    make_cudaExtent = staticmethod(real.make_cudaExtent)
    cudaStreamNonBlocking = real.cudaStreamNonBlocking
    cudaEventDisableTiming = real.cudaEventDisableTiming

    def __init__(self, total_bytes: int = 1 << 24) -> None:
        self.total_bytes = total_bytes
        self.fails: dict[str, Any] = {}
        self.calls: list[str] = []
        self.blocks: list[Block] = []
        self.handles: dict[int, Handle] = {}

    def __getattribute__(self, name: str) -> Any:
        if name in _FUNCTIONS:
            self.calls.append(name)
            if name in self.fails:
                status = self.fails[name]
                return lambda *_: (status, None)
        return super().__getattribute__(name)

    # What a test asks.

    def live(self) -> list[str]:
        """Everything that was made and not freed."""
        memory = [f"{block.kind} {block.num_bytes}" for block in self.blocks if block.is_live]
        return memory + [h.kind for h in self.handles.values() if h.is_live]

    def device_bytes(self) -> int:
        return sum(b.num_bytes for b in self.blocks if b.is_live and b.kind == "device")

    def view(self, address: int, num_bytes: int, kind: str = "device") -> NDArray[np.uint8]:
        """Bytes of one live allocation."""
        for block in self.blocks:
            if block.address <= address < block.address + block.num_bytes and block.kind == kind:
                assert block.is_live, f"{kind} memory at {address:#x} is used after it was freed"
                end = address + num_bytes
                assert end <= block.address + block.num_bytes, f"{kind} access leaves its block"
                content = (ctypes.c_uint8 * num_bytes).from_address(address)
                return np.ctypeslib.as_array(content)
        raise AssertionError(f"no {kind} memory is at {address:#x}")

    def enqueue(self, stream: int, work: Work) -> None:
        handle = self._handle(stream, "stream")
        (handle.work if handle.capture is None else handle.capture).append(work)

    def is_capturing(self, stream: int) -> bool:
        return self._handle(stream, "stream").capture is not None

    def cudaSetDevice(self, device: int) -> tuple[Any]:
        return (_OK,)

    # Memory.

    def cudaMalloc(self, size: int) -> tuple[Any, Any]:
        if self.device_bytes() + size > self.total_bytes:
            return real.cudaError_t.cudaErrorMemoryAllocation, None
        return _OK, self._allocate(size, "device")

    def cudaMallocHost(self, size: int) -> tuple[Any, Any]:
        return _OK, self._allocate(size, "pinned")

    def cudaFree(self, address: int) -> tuple[Any]:
        return self._free(address, "device")

    def cudaFreeHost(self, address: int) -> tuple[Any]:
        return self._free(address, "pinned")

    def cudaMemGetInfo(self) -> tuple[Any, int, int]:
        return _OK, self.total_bytes - self.device_bytes(), self.total_bytes

    def cudaMemsetAsync(self, address: int, value: int, count: int, stream: Any) -> tuple[Any]:
        self.view(address, count)

        def work() -> None:
            self.view(address, count)[:] = value

        self.enqueue(int(stream), work)
        return (_OK,)

    def cudaMemcpyAsync(
        self, to: int, source: int, count: int, kind: Any, stream: Any
    ) -> tuple[Any]:
        kinds = real.cudaMemcpyKind
        ends = {
            kinds.cudaMemcpyHostToDevice: ("device", "pinned"),
            kinds.cudaMemcpyDeviceToHost: ("pinned", "device"),
            kinds.cudaMemcpyDeviceToDevice: ("device", "device"),
        }[kind]
        self.view(source, count, ends[1])
        target = self.view(to, count, ends[0])
        if ends[0] == "pinned":
            target[:] = _GARBAGE  # until the copy is done

        def work() -> None:
            self.view(to, count, ends[0])[:] = self.view(source, count, ends[1])

        self.enqueue(int(stream), work)
        return (_OK,)

    def cudaMemcpy3DAsync(self, p: Any, stream: Any) -> tuple[Any]:
        assert p.kind == real.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        size = (p.extent.depth, p.extent.height, p.extent.width)
        rows: list[NDArray[np.intp]] = []
        for end, at in ((p.dstPtr, p.dstPos), (p.srcPtr, p.srcPos)):
            assert at.x + size[2] <= end.pitch, "a row of a copy leaves its row"
            assert at.y + size[1] <= end.ysize, "a copy leaves its layer"
            rows.append(
                np.add.outer(np.arange(size[0]) + at.z, np.zeros(size[1], np.intp)) * end.ysize
                + np.arange(size[1])
                + at.y
            )
            rows[-1] = end.ptr + rows[-1].reshape(-1) * end.pitch + at.x
            self.view(int(rows[-1].min()), int(rows[-1].max() - rows[-1].min()) + size[2])

        def work() -> None:
            for to, source in zip(*rows, strict=True):
                self.view(int(to), size[2])[:] = self.view(int(source), size[2])

        self.enqueue(int(stream), work)
        return (_OK,)

    # Streams and events.

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, Handle]:
        return _OK, self._new("stream")

    def cudaStreamDestroy(self, stream: Any) -> tuple[Any]:
        return self._end(stream, "stream")

    def cudaStreamSynchronize(self, stream: Any) -> tuple[Any]:
        handle = self._handle(int(stream), "stream")
        assert handle.capture is None, "a capturing stream is waited for"
        self._run(handle, len(handle.work))
        return (_OK,)

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[Any, Handle]:
        return _OK, self._new("event")

    def cudaEventDestroy(self, event: Any) -> tuple[Any]:
        return self._end(event, "event")

    def cudaEventRecord(self, event: Any, stream: Any) -> tuple[Any]:
        handle = self._handle(int(event), "event")
        target = self._handle(int(stream), "stream")
        done = False

        def reach() -> None:
            nonlocal done
            done = True

        def wait() -> None:
            while not done:
                self._run(target, 1)

        target.work.append(reach)
        handle.work = [wait]
        return (_OK,)

    def cudaEventSynchronize(self, event: Any) -> tuple[Any]:
        for wait in self._handle(int(event), "event").work:
            wait()
        return (_OK,)

    # Graphs.

    def cudaStreamBeginCapture(self, stream: Any, mode: Any) -> tuple[Any]:
        handle = self._handle(int(stream), "stream")
        assert handle.capture is None, "two captures of one stream"
        handle.capture = []
        return (_OK,)

    def cudaStreamEndCapture(self, stream: Any) -> tuple[Any, Any]:
        handle = self._handle(int(stream), "stream")
        assert handle.capture is not None, "no capture was begun"
        graph = self._new("graph")
        graph.work, handle.capture = handle.capture, None
        return _OK, graph

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Any, Any]:
        executable = self._new("executable graph")
        executable.work = list(self._handle(int(graph), "graph").work)
        return _OK, executable

    def cudaGraphLaunch(self, executable: Any, stream: Any) -> tuple[Any]:
        for work in self._handle(int(executable), "executable graph").work:
            self.enqueue(int(stream), work)
        return (_OK,)

    def cudaGraphDestroy(self, graph: Any) -> tuple[Any]:
        return self._end(graph, "graph")

    def cudaGraphExecDestroy(self, executable: Any) -> tuple[Any]:
        return self._end(executable, "executable graph")

    def cudaGetErrorString(self, status: Any) -> tuple[Any, bytes]:
        return _OK, b"it is made up"

    def cudaGetLastError(self) -> tuple[Any]:
        return (_OK,)

    def _allocate(self, size: int, kind: str) -> int:
        assert size > 0, f"{size} bytes of {kind} memory are asked for"
        memory = np.full(size + _ALIGNMENT, _GARBAGE, np.uint8)
        address = -(-memory.ctypes.data // _ALIGNMENT) * _ALIGNMENT
        self.blocks.append(Block(address, size, kind, memory=memory))
        return address

    def _free(self, address: int, kind: str) -> tuple[Any]:
        found = [b for b in self.blocks if b.address == address and b.kind == kind]
        assert found, f"{address:#x} was never allocated as {kind} memory"
        assert found[0].is_live, f"{kind} memory at {address:#x} is freed twice"
        found[0].is_live = False
        return (_OK,)

    def _new(self, kind: str) -> Handle:
        handle = Handle(len(self.handles) + 1, kind)
        self.handles[handle.number] = handle
        return handle

    def _handle(self, number: int, kind: str) -> Handle:
        handle = self.handles[number]
        assert handle.kind == kind, f"a {handle.kind} is used as a {kind}"
        assert handle.is_live, f"a {kind} is used after it was destroyed"
        return handle

    def _end(self, number: Any, kind: str) -> tuple[Any]:
        handle = self._handle(int(number), kind)
        assert kind != "stream" or not handle.work, "a stream is destroyed that has work"
        handle.is_live = False
        return (_OK,)

    def _run(self, stream: Handle, count: int) -> None:
        for _ in range(count):
            stream.work.pop(0)()


_FUNCTIONS = {
    name for name, value in vars(FakeCuda).items() if isfunction(value) and "cuda" in name
}
