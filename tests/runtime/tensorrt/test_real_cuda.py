"""The runner over the CUDA of a real GPU: its copies, streams, slots and graphs.

Deselected unless pytest is asked for `-m gpu`, as `make check-gpu` does.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interpreted_on_cuda import made_on_cuda
from llmasos.engine.nvidia_driver import find_driver
from llmasos_runtime.engine.engine import Engine
from llmasos_runtime.tensorrt.cuda import (
    Cuda,
    CudaError,
    DeviceMemory,
    Event,
    PinnedMemory,
    Stream,
    load_cuda,
)
from llmasos_runtime.tensorrt.kv_slots import KVSlots, SlotCacheTensor
from made_engine import ask
from made_trt_engine import MadeGPU

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def cuda() -> Cuda:
    cuda = load_cuda()
    cuda.call("cudaSetDevice", 0)
    return cuda


@pytest.fixture
def stream(cuda: Cuda) -> Iterator[Stream]:
    stream = Stream(cuda)
    yield stream
    stream.close()


def prompt(seed: int, length: int) -> tuple[int, ...]:
    return tuple(random.Random(seed).choices(range(256), k=length))


PROMPTS = [prompt(n, length) for n, length in enumerate((3, 17, 1, 35, 8, 50, 2, 21))]
LENGTHS = (9, 4, 14, 6, 3, 12, 1, 14)


def tokens_of(engine: Engine, **params: Any) -> list[list[int]]:
    """What each prompt is continued with; all are asked at once."""
    sinks = [
        ask(engine, tokens, request_id=str(n), max_tokens=length, ignore_eos=True, **params)
        for n, (tokens, length) in enumerate(zip(PROMPTS, LENGTHS, strict=True))
    ]
    return [sink.token_ids for sink in sinks]


def test_the_driver_describes_the_gpu_as_cuda_does(cuda: Cuda) -> None:
    driver = find_driver()
    assert driver is not None
    gpu = driver.gpus()[0]
    free, total = cuda.memory_info()
    assert gpu.total_bytes == total and 0 < gpu.free_bytes <= total
    attributes = cuda.library.cudaDeviceAttr
    major = cuda.call("cudaDeviceGetAttribute", attributes.cudaDevAttrComputeCapabilityMajor, 0)
    minor = cuda.call("cudaDeviceGetAttribute", attributes.cudaDevAttrComputeCapabilityMinor, 0)
    assert gpu.capability == f"sm{major}{minor}" and gpu.name and 0 < free <= total


def test_bytes_go_to_the_gpu_and_come_back(cuda: Cuda, stream: Stream) -> None:
    device, pinned = DeviceMemory(cuda, 1 << 20), PinnedMemory(cuda, 1 << 20)
    assert device.address % 256 == 0
    sent = np.random.default_rng(0).integers(0, 256, 1 << 20, np.uint8)
    pinned.array[:] = sent
    stream.copy_in(device, pinned, 1 << 20)
    stream.synchronize()
    pinned.array[:] = 0
    event = Event(cuda)
    stream.copy_out(pinned.address, device.address, 1 << 20)
    event.record(stream)
    event.synchronize()
    assert np.array_equal(pinned.array, sent)
    for owned in (event, device, pinned):
        owned.close()
        owned.close()


def test_a_slot_is_copied_in_every_cache_and_nothing_beside_it(cuda: Cuda, stream: Stream) -> None:
    heads, length, size, slots = 3, 16, 8, 5
    caches = tuple(
        SlotCacheTensor(
            input=f"{part}_cache.{layer}",
            output=f"{part}_cache_out.{layer}",
            slot_shape=(heads, length, size),
            item_bytes=2,
        )
        for layer in range(2)
        for part in ("key", "value")
    )
    kv = KVSlots(cuda, caches, num_slots=slots, stream=stream)
    first = min(kv.addresses(0).values())
    shape = (len(caches), slots, heads, length, size)
    pinned = PinnedMemory(cuda, 2 * int(np.prod(shape)))
    content = pinned.array.view(np.int16).reshape(shape)
    stream.copy_out(pinned.address, first, pinned.num_bytes)
    stream.synchronize()
    assert not content.any(), "caches start as zeros"
    before = np.random.default_rng(1).integers(0, 30000, shape).astype(np.int16)
    content[...] = before
    kind = cuda.library.cudaMemcpyKind.cudaMemcpyHostToDevice
    cuda.call("cudaMemcpy", first, pinned.address, pinned.num_bytes, kind)
    kv.copy(1, 4, 11, stream)
    kv.copy(3, 0, 16, stream)
    stream.copy_out(pinned.address, first, pinned.num_bytes)
    stream.synchronize()
    expected = before.copy()
    expected[:, 4, :, :11] = before[:, 1, :, :11]
    expected[:, 0] = before[:, 3]
    assert np.array_equal(content, expected)
    kv.close()
    pinned.close()


def test_a_captured_graph_repeats_its_work(cuda: Cuda, stream: Stream) -> None:
    device, pinned = DeviceMemory(cuda, 512), PinnedMemory(cuda, 512)
    stream.begin_capture()
    stream.copy_in(device, pinned, 256)
    stream.copy_out(pinned.address + 256, device.address, 256)
    graph = stream.end_capture()
    for value in (7, 9):
        pinned.array[:256] = value
        pinned.array[256:] = 0
        graph.launch(stream)
        stream.synchronize()
        assert set(pinned.array[256:]) == {value}
    for owned in (graph, device, pinned):
        owned.close()


def test_a_failed_capture_leaves_the_stream_usable(cuda: Cuda, stream: Stream) -> None:
    pinned, device = PinnedMemory(cuda, 256), DeviceMemory(cuda, 256)
    stream.begin_capture()
    with pytest.raises(CudaError):
        stream.synchronize()  # which no graph can hold
    with pytest.raises(CudaError):
        stream.end_capture()
    stream.begin_capture()
    stream.abandon_capture()
    pinned.array[:] = 3
    stream.copy_in(device, pinned, 256)
    stream.synchronize()
    assert cuda.library.cudaGetLastError()[0] == cuda.library.cudaError_t.cudaSuccess
    pinned.close()
    device.close()


def test_more_memory_than_there_is_is_an_error_that_names_the_bytes(cuda: Cuda) -> None:
    _, total = cuda.memory_info()
    with pytest.raises(CudaError, match=f"cudaErrorMemoryAllocation.*{2 * total} bytes"):
        DeviceMemory(cuda, 2 * total)
    memory = DeviceMemory(cuda, 256)
    memory.close()


@pytest.mark.parametrize("changes", [{}, {"full_logits": True, "num_candidates": 4}])
def test_an_engine_over_real_cuda_says_what_it_says_over_a_fake_one(
    tiny_llama: Path, tmp_path: Path, cuda: Cuda, changes: dict[str, Any]
) -> None:
    fake = MadeGPU(tiny_llama, tmp_path / "fake", **changes)
    expected_engine = fake.engine()
    real, _ = made_on_cuda(tiny_llama, tmp_path / "real", **changes)
    gc.collect()
    free_before, _ = cuda.memory_info()
    engine = real.engine(kv_cache_bytes=1 << 20)
    try:
        for params in ({}, {"seed": 3, "temperature": 0.8, "top_k": 4}):
            assert tokens_of(engine, **params) == tokens_of(expected_engine, **params)
        assert tokens_of(engine) == tokens_of(engine), "again, from copies of their beginnings"
    finally:
        engine.close()
        expected_engine.close()
    assert cuda.memory_info()[0] == free_before, "memory of the GPU is not freed"
