"""NVIDIA's driver, asked through a made-up libcuda."""

from __future__ import annotations

from typing import Any

import pytest
from llmasos.engine.nvidia_driver import Driver, DriverError, find_driver
from llmasos.errors import PlanError
from llmasos_builder.tensorrt.current_gpu import current_gpu
from made_machine import GIB


class FakeLibcuda:
    """libcuda's functions for two GPUs; each writes through its pointers and returns a status."""

    def __init__(self, *, init: int = 0, memory: int = 0, context: int = 0) -> None:
        self.init, self.memory, self.context = init, memory, context
        self.open_contexts = 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.init

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = 12080
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 2
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:  # noqa: N802
        device._obj.value = index + 10
        return 0

    def cuDeviceGetName(self, name: Any, length: int, device: Any) -> int:  # noqa: N802
        name.value = b"GPU %d" % device.value
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = {75: 12, 76: 1}[attribute] if device.value == 10 else 8
        return 0

    def cuDeviceTotalMem_v2(self, total: Any, device: Any) -> int:  # noqa: N802
        total._obj.value = 8 * GIB
        return 0

    def cuGetErrorName(self, status: int, name: Any) -> int:  # noqa: N802
        name._obj.value = {2: b"CUDA_ERROR_OUT_OF_MEMORY"}.get(status)
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:  # noqa: N802
        if self.context and device.value == 10:
            return self.context
        self.open_contexts += 1
        context._obj.value = 77
        return 0

    def cuCtxPushCurrent_v2(self, context: Any) -> int:  # noqa: N802
        assert context.value == 77
        return 0

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:  # noqa: N802
        free._obj.value, total._obj.value = 6 * GIB, 8 * GIB
        return self.memory

    def cuCtxPopCurrent_v2(self, context: Any) -> int:  # noqa: N802
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, device: Any) -> int:  # noqa: N802
        self.open_contexts -= 1
        return 0


def test_the_driver_lists_its_gpus_and_lets_go_of_them() -> None:
    library = FakeLibcuda()
    asked = Driver(library)
    assert asked.cuda_version == (12, 8)
    gpus = asked.gpus()
    assert [(gpu.name, gpu.capability) for gpu in gpus] == [("GPU 10", "sm121"), ("GPU 11", "sm88")]
    assert {(gpu.free_bytes, gpu.total_bytes) for gpu in gpus} == {(6 * GIB, 8 * GIB)}
    assert library.open_contexts == 0


def test_a_driver_without_gpus_is_no_error_and_a_failing_one_is() -> None:
    assert Driver(FakeLibcuda(init=100)).gpus() == ()
    with pytest.raises(DriverError, match="cuInit with error 999"):
        Driver(FakeLibcuda(init=999)).gpus()
    failing = FakeLibcuda(memory=2)
    named = r"cuMemGetInfo_v2 with error 2 \(CUDA_ERROR_OUT_OF_MEMORY\)"
    with pytest.raises(DriverError, match=named):
        Driver(failing).gpus()
    assert failing.open_contexts == 0


def test_a_gpu_without_room_for_a_context_has_none_free_and_hides_no_other() -> None:
    library = FakeLibcuda(context=2)
    gpus = Driver(library).gpus()
    assert [(gpu.free_bytes, gpu.total_bytes) for gpu in gpus] == [
        (0, 8 * GIB),
        (6 * GIB, 8 * GIB),
    ]
    assert library.open_contexts == 0
    with pytest.raises(DriverError, match=r"cuDevicePrimaryCtxRetain with error 46$"):
        Driver(FakeLibcuda(context=46)).gpus()


def test_there_is_no_driver_where_its_library_is_missing() -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    assert find_driver(missing) is None


def test_the_builder_takes_the_first_gpu_and_opens_no_context() -> None:
    library = FakeLibcuda(context=46)
    assert Driver(library).capabilities() == ("sm121", "sm88")
    assert current_gpu(lambda _: library) == "sm121"


@pytest.mark.parametrize(
    ("init", "why"),
    [(100, "its NVIDIA driver finds no GPU"), (999, "its NVIDIA driver does not answer")],
)
def test_a_builder_without_a_gpu_says_what_is_missing(init: int, why: str) -> None:
    with pytest.raises(PlanError, match=f"gpu current is the GPU of this machine, and {why}"):
        current_gpu(lambda _: FakeLibcuda(init=init))
