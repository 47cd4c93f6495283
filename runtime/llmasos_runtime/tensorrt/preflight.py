"""Checks that a machine can run a TensorRT plan before the plan is loaded.

TensorRT answers with null pointers and codes; here each reason is one line that says what to do.
Every case is tested with simulated machines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from llmasos.engine.engine_io import RTX_GPUS, TENSORRT_EXTRAS
from llmasos.engine.nvidia_driver import GPU
from llmasos.engine.plan import EnginePlan
from llmasos.engine.tensorrt_record import TensorRTRecord
from llmasos.errors import PlanError

from llmasos_runtime.tensorrt.machine import DriverReport, Library, Machine, ThisMachine

OLDEST_DRIVER: Mapping[int, int] = {12: 525, 13: 580}
"""The oldest driver release that supports each major version of CUDA."""
_CACHE_BYTES = {"f32": 4, "fp16": 2, "bf16": 2}


def check_machine(
    plan: EnginePlan, directory: Path, machine: Machine | None = None
) -> tuple[GPU, ...]:
    """Returns the GPUs that a TensorRT plan will run on, by rank: the first that CUDA shows.

    plan: of target tensorrt. directory: holds its engines. machine: None is this one.
    Raises PlanError, which says what is missing and what to do.
    """
    record = plan.tensorrt
    assert record is not None
    machine = machine or ThisMachine()
    library = _check_library(plan, record, machine)
    gpus = _gpus(plan, record, check_driver(record.library, library, machine.driver()))
    for gpu, file in zip(gpus, record.engine_files, strict=True):
        _check_capability(plan, record, gpu)
        _check_memory(plan, (directory / file).stat().st_size, gpu)
    return gpus


def check_ranks(plan: EnginePlan) -> None:
    """Raises PlanError for a plan of several ranks, which the runtime cannot run yet."""
    assert plan.tensorrt is not None
    if plan.tensorrt.num_ranks > 1:
        raise PlanError(
            f"{plan.name} has engines for {plan.tensorrt.num_ranks} GPUs, one can be used",
            hint="build it without --tp and --pp",
        )


def slot_bytes(plan: EnginePlan) -> int:
    """Bytes of keys and values of one sequence of max_seq_len, on the GPU that has most of them."""
    assert plan.tensorrt is not None
    num_layers = math.ceil(plan.num_layers / plan.tensorrt.pipeline_parallel_size)
    num_kv_heads = math.ceil(plan.num_kv_heads / plan.tensorrt.tensor_parallel_size)
    values = num_layers * num_kv_heads * plan.head_size * plan.limits.max_seq_len
    return 2 * values * _CACHE_BYTES[plan.kv_cache_precision]


def _check_library(plan: EnginePlan, record: TensorRTRecord, machine: Machine) -> Library:
    """Requires the same release: NVIDIA promises that an engine loads only in the one that built
    it.

    TensorRT has two ways around that: one does not exist in TensorRT-RTX, and the other makes
    engines slower.
    """
    name = record.library
    library = machine.library(name)
    if library is None:
        raise PlanError(
            f"{plan.name} needs {name} {record.version}, which is not installed",
            hint=f"pip install '{TENSORRT_EXTRAS[name]}'",
        )
    if library.version != record.version:
        raise PlanError(
            f"{plan.name} is compiled by {name} {record.version}, and {library.version} is "
            "installed: an engine loads only in the version that compiled it",
            hint="build it again, or install that version",
        )
    if machine.cuda_bindings() is None:
        raise PlanError(
            f"{plan.name} needs cuda-bindings beside {name}, which is not installed",
            hint=f"pip install '{TENSORRT_EXTRAS[name]}'",
        )
    return library


def check_driver(name: str, library: Library, driver: DriverReport | None) -> DriverReport:
    """Returns a driver that the library of this name can use; raises PlanError if there is none."""
    if driver is None:
        raise PlanError(
            "this machine has no NVIDIA driver (libcuda.so.1)",
            hint="install one (a container must be run with its GPUs), or build for openvino",
        )
    needed = library.cuda_major
    if needed is not None and driver.cuda_version[0] < needed:
        served = ".".join(map(str, driver.cuda_version))
        version = f" {driver.version}" if driver.version else ""
        oldest = OLDEST_DRIVER.get(needed)
        raise PlanError(
            f"NVIDIA's driver{version} serves CUDA up to {served}, and {name} "
            f"{library.version} needs CUDA {needed}",
            hint=f"install driver {oldest} or newer" if oldest else "install a newer driver",
        )
    return driver


def _gpus(plan: EnginePlan, record: TensorRTRecord, driver: DriverReport) -> tuple[GPU, ...]:
    found, hint = driver.gpus, "look at nvidia-smi, CUDA_VISIBLE_DEVICES and what the container has"
    if not found:
        raise PlanError(driver.error or "NVIDIA's driver shows no GPU", hint=hint)
    if len(found) < record.num_ranks:
        raise PlanError(
            f"{plan.name} needs {record.num_ranks} GPUs, one for each of its engines, and "
            f"NVIDIA's driver shows {len(found)}",
            hint=hint,
        )
    return found[: record.num_ranks]


def _check_capability(plan: EnginePlan, record: TensorRTRecord, gpu: GPU) -> None:
    if gpu.capability in record.gpus:
        return
    compiled = f"{plan.name} is compiled for {', '.join(record.gpus)}"
    if record.library == "tensorrt_rtx" and gpu.capability not in RTX_GPUS:
        raise PlanError(
            f"{compiled}, and {gpu.name} is {gpu.capability}, which TensorRT-RTX does not serve",
            hint="pip install 'llmasos[tensorrt]' and build it again here with --gpu current",
        )
    wanted = gpu.capability if record.library == "tensorrt_rtx" else "current"
    raise PlanError(
        f"{compiled}, and {gpu.name} is {gpu.capability}",
        hint=f"build it again with --gpu {wanted}",
    )


def _check_memory(plan: EnginePlan, engine_bytes: int, gpu: GPU) -> None:
    assert plan.tensorrt is not None
    slot, scratch = slot_bytes(plan), plan.tensorrt.scratch_bytes or 0
    needed = engine_bytes + scratch + slot
    if gpu.free_bytes < needed:
        raise PlanError(
            f"{plan.name} needs at least {needed} bytes of GPU memory ({engine_bytes} for the "
            f"engine, {scratch} for activations, {slot} for one sequence of "
            f"max_seq_len {plan.limits.max_seq_len}), and {gpu.name} has {gpu.free_bytes} of "
            f"{gpu.total_bytes} free",
            hint="stop other programs that use it, or build with a smaller --max-seq-len or "
            "--precision",
        )
