"""The fakes are as the real libraries are, and what wraps CUDA frees what it takes."""

from __future__ import annotations

import inspect
import re
from typing import Any

import fake_cuda
import fake_tensorrt
import numpy as np
import pytest
from fake_cuda import FakeCuda
from llmasos_runtime.tensorrt.cuda import (
    Cuda,
    CudaError,
    DeviceMemory,
    Event,
    PinnedMemory,
    Stream,
    load_cuda,
)

trt, real_cuda = fake_tensorrt.real, fake_cuda.real


def _num_parameters(function: Any) -> int:
    """Of a function of the bindings, by the signature at the head of its documentation."""
    head = re.match(r"\w+\((.*)\)", str(function.__doc__).splitlines()[0])
    assert head is not None
    return len([part for part in head[1].split(",") if part.strip()])


FUNCTIONS = [
    name
    for name, value in vars(FakeCuda).items()
    if inspect.isfunction(value) and name.startswith("cuda")
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_made_up_function_takes_what_cudas_takes(name: str) -> None:
    own = len(inspect.signature(getattr(FakeCuda, name)).parameters) - 1
    assert own == _num_parameters(getattr(real_cuda, name))


@pytest.mark.parametrize(
    ("made_up", "real"),
    [
        (fake_tensorrt.FakeRuntime, trt.Runtime),
        (fake_tensorrt.FakeEngine, trt.ICudaEngine),
        (fake_tensorrt.FakeContext, trt.IExecutionContext),
        (fake_tensorrt.FakeConfig, trt.IRuntimeConfig),
        (fake_tensorrt.FakeCache, trt.IRuntimeCache),
        (fake_tensorrt.FakeLibrary, trt),
    ],
)
def test_what_a_made_up_tensorrt_can_do_the_real_one_can(made_up: Any, real: Any) -> None:
    public = [name for name in vars(made_up) if not name.startswith("_")]
    missing = [name for name in public if not hasattr(real, name)]
    assert public and not missing


def test_parameters_of_tensorrt_are_called_as_they_are() -> None:
    for made_up, real in (
        (fake_tensorrt.FakeContext, trt.IExecutionContext),
        (fake_tensorrt.FakeConfig, trt.IRuntimeConfig),
        (fake_tensorrt.FakeCache, trt.IRuntimeCache),
    ):
        for name, value in vars(made_up).items():
            if inspect.isfunction(value) and not name.startswith("_"):
                for parameter in list(inspect.signature(value).parameters)[1:]:
                    assert f"{parameter}:" in getattr(real, name).__doc__, (name, parameter)


def test_without_a_driver_a_call_says_so_in_one_line() -> None:
    """On this machine there may be a GPU: then there is nothing to see."""
    cuda = load_cuda()
    try:
        DeviceMemory(cuda, 16).close()
    except CudaError as error:
        assert re.match(r"CUDA's cudaMalloc fails: cudaError\w+, ", str(error))
        assert "\n" not in str(error)


def test_work_is_done_when_it_is_waited_for_and_in_order() -> None:
    fake = FakeCuda()
    cuda = Cuda(fake)
    host, device = PinnedMemory(cuda, 8), DeviceMemory(cuda, 8)
    stream, event = Stream(cuda), Event(cuda)
    host.array[:] = 7
    stream.copy_in(device, host, 8)
    stream.copy_out(host.address, device.address, 8)
    assert (host.array == 0xFF).all(), "what is copied over is garbage until then"
    host.array[:] = 9
    event.record(stream)
    event.synchronize()
    assert (host.array == 9).all(), "the copy took what was there when it was done"
    for owned in (event, host, device, stream):
        owned.close()
        owned.close()
    assert fake.live() == []


def _copy(stream: Stream, device: DeviceMemory, host: PinnedMemory, num_bytes: int) -> None:
    stream.copy_in(device, host, num_bytes)
    stream.synchronize()


def test_misuse_is_found() -> None:
    cuda = Cuda(FakeCuda())
    host, device, stream = PinnedMemory(cuda, 8), DeviceMemory(cuda, 8), Stream(cuda)
    with pytest.raises(AssertionError, match="leaves its block"):
        _copy(stream, device, host, 9)
    unpinned = np.zeros(8, np.uint8)
    with pytest.raises(AssertionError, match="no pinned memory"):
        stream.copy_out(unpinned.ctypes.data, device.address, 8)
    stream.copy_in(device, host, 8)
    with pytest.raises(AssertionError, match="has work"):
        stream.close()
    address = device.address
    device.close()
    with pytest.raises(AssertionError, match="used after it was freed"):
        stream.synchronize()
    with pytest.raises(AssertionError, match="freed twice"):
        cuda.call("cudaFree", address)


def test_a_captured_graph_does_its_work_when_it_is_launched() -> None:
    fake = FakeCuda()
    cuda = Cuda(fake)
    host, device, stream = PinnedMemory(cuda, 4), DeviceMemory(cuda, 4), Stream(cuda)
    stream.begin_capture()
    stream.copy_in(device, host, 4)
    graph = stream.end_capture()
    stream.synchronize()
    for value in (1, 2):
        host.array[:] = value
        graph.launch(stream)
        stream.synchronize()
        assert (fake.view(device.address, 4) == value).all()
    for owned in (graph, host, device, stream):
        owned.close()
    assert fake.live() == []


def test_a_capture_that_fails_leaves_the_stream_usable() -> None:
    fake = FakeCuda()
    cuda = Cuda(fake)
    stream = Stream(cuda)
    stream.begin_capture()
    stream.abandon_capture()
    stream.synchronize()
    stream.close()
    assert fake.live() == []
