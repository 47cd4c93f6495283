"""What this machine has that LLMasOS can use, for whoever wonders why something does not run."""

from __future__ import annotations

import platform
from importlib.metadata import version

from llmasos.engine.cpu_kind import this_cpu_kind
from llmasos.engine.engine_io import RTX_GPUS, TENSORRT_EXTRAS
from llmasos.engine.native_engine import CPU_KINDS
from llmasos.engine.nvidia_driver import GPU
from llmasos.errors import PlanError, ServerError
from llmasos.openvino_import import ov
from llmasos.version import __version__
from llmasos_runtime.machine.resources import (
    available_memory_bytes,
    cpu_features,
    num_physical_cores,
)
from llmasos_runtime.tensorrt.machine import (
    DISTRIBUTIONS,
    DriverReport,
    Library,
    Machine,
    ThisMachine,
    installed_version,
)
from llmasos_runtime.tensorrt.preflight import check_driver
from llmasos_serving.triton.installation import describe_server

from llmasos_app.finding import Finding
from llmasos_app.places import places

_GIB = 2**30


def diagnose(machine: Machine | None = None) -> list[Finding]:
    """Look at everything; it takes a second. machine: for its GPUs, None is this one."""
    machine = machine or ThisMachine()
    driver = machine.driver()
    return [
        Finding(subject="llmasos", text=f"{__version__} on Python {platform.python_version()}"),
        _cpu(),
        Finding(subject="memory", text=f"{available_memory_bytes() / _GIB:.1f} GiB free"),
        *places(),
        _triton(),
        *_nvidia(driver),
        *(_library(name, machine.library(name)) for name in DISTRIBUTIONS),
        _package("cuda-bindings", machine.cuda_bindings(), "llmasos[tensorrt-rtx]"),
        _package("TensorRT-LLM", installed_version("tensorrt_llm"), "llmasos[tensorrt-llm]"),
        _target_openvino(),
        _target_native(),
        *_target_tensorrt(machine, driver),
    ]


def _cpu() -> Finding:
    name = ov.Core().get_property("CPU", "FULL_DEVICE_NAME")
    features = " ".join(cpu_features()) or "none of the instructions that matter"
    return Finding(subject="CPU", text=f"{name}, {num_physical_cores()} cores, {features}")


def _triton() -> Finding:
    try:
        return Finding(subject="Triton", text=describe_server())
    except ServerError as error:
        return Finding(subject="Triton", text=str(error), is_problem=True)


def _nvidia(driver: DriverReport | None) -> list[Finding]:
    if driver is None:
        return [Finding(subject="NVIDIA driver", text="none (libcuda.so.1 is missing)")]
    served = ".".join(map(str, driver.cuda_version))
    name = driver.version or "of an unknown version"
    gpus = [Finding(subject=f"GPU {i}", text=_gpu(gpu)) for i, gpu in enumerate(driver.gpus)]
    return [
        Finding(subject="NVIDIA driver", text=f"{name}, for CUDA up to {served}"),
        *(gpus or [Finding(subject="GPU", text=driver.error or "none that the driver shows")]),
    ]


def _gpu(gpu: GPU) -> str:
    free, total = gpu.free_bytes / _GIB, gpu.total_bytes / _GIB
    return f"{gpu.name}, {gpu.capability}, {free:.1f} of {total:.1f} GiB free"


def _library(name: str, library: Library | None) -> Finding:
    if library is None:
        return Finding(subject=name, text=_not_installed(TENSORRT_EXTRAS[name]))
    cuda = f" for CUDA {library.cuda_major}" if library.cuda_major else ""
    return Finding(subject=name, text=f"{library.version}{cuda}")


def _package(subject: str, version: str | None, extra: str) -> Finding:
    return Finding(subject=subject, text=version or _not_installed(extra))


def _not_installed(extra: str) -> str:
    return f"not installed; pip install '{extra}'"


def _target_openvino() -> Finding:
    capabilities = set(ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    computes = "bf16 and f32" if "BF16" in capabilities else "f32 alone"
    return Finding(
        subject="target openvino",
        text=f"OpenVINO {version('openvino')} runs f32, bf16, int8 and int4 plans here, computing "
        f"in {computes}",
    )


def _target_native() -> Finding:
    kind = this_cpu_kind()
    if kind is None:
        text = f"needs a processor of kind {' or '.join(CPU_KINDS)}; this one runs openvino plans"
    elif installed_version("llvmlite") is None:
        text = f"has code for this processor ({kind}); {_not_installed('llmasos[native]')}"
    else:
        builds = "builds and runs" if installed_version("numba") else "runs (without numba)"
        text = f"{builds} int8 and int4 plans of decoders like Llama here, as {kind}"
    return Finding(subject="target native", text=text)


def _target_tensorrt(machine: Machine, driver: DriverReport | None) -> list[Finding]:
    """What each installed TensorRT compiles, and runs, here."""
    installed = {name: library for name in DISTRIBUTIONS if (library := machine.library(name))}
    if not installed:
        return [Finding(subject="target tensorrt", text="nothing here compiles or runs its plans")]
    return [
        Finding(
            subject="target tensorrt",
            text=f"{name} {_compiles(name)} and {_runs(name, library, machine, driver)}",
        )
        for name, library in installed.items()
    ]


def _compiles(name: str) -> str:
    if name == "tensorrt_rtx":
        return f"compiles for {', '.join(RTX_GPUS)}"
    return "compiles for this machine's GPU"


def _runs(name: str, library: Library, machine: Machine, driver: DriverReport | None) -> str:
    if machine.cuda_bindings() is None:
        return "runs no plan here: cuda-bindings is not installed"
    try:
        gpus = check_driver(name, library, driver).gpus
    except PlanError as error:
        return f"runs no plan here: {error}"
    served = [g.capability for g in gpus if name == "tensorrt" or g.capability in RTX_GPUS]
    if not served:
        found = ", ".join(gpu.capability for gpu in gpus)
        return f"runs no plan here: {f'it does not serve {found}' if gpus else 'there is no GPU'}"
    return f"runs plans for {', '.join(dict.fromkeys(served))} here"
