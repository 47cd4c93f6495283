"""What this machine has that LLMasOS can use, for whoever wonders why something does not run."""

from __future__ import annotations

import platform
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import openvino as ov
from llmasos import __version__
from llmasos.errors import ServerError

from llmasos_runtime.resources import available_memory_bytes, num_physical_cores
from llmasos_runtime.triton.installation import find_installation

_TENSORRT = ("tensorrt_rtx_cu13", "tensorrt_rtx", "tensorrt")
_NVIDIA_SMI = (
    "nvidia-smi",
    "--query-gpu=name,compute_cap,memory.total,driver_version",
    "--format=csv,noheader",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line. is_problem: something that the product needs is missing."""

    subject: str
    text: str
    is_problem: bool = False


def diagnose(nvidia_smi: Sequence[str] = _NVIDIA_SMI) -> list[Finding]:
    """Look at everything; it takes a second. nvidia_smi: the command that lists GPUs."""
    gpus = find_gpus(nvidia_smi)
    return [
        Finding(subject="llmasos", text=f"{__version__} on Python {platform.python_version()}"),
        *_cpu(),
        Finding(subject="memory", text=f"{available_memory_bytes() / 2**30:.1f} GiB free"),
        _triton(),
        *(Finding(subject="GPU", text=gpu) for gpu in gpus or ["none that NVIDIA's driver shows"]),
        _tensorrt(),
    ]


def find_gpus(nvidia_smi: Sequence[str] = _NVIDIA_SMI) -> list[str]:
    """A line for each NVIDIA GPU: name, compute capability, memory, driver."""
    try:
        listing = subprocess.run(
            nvidia_smi, capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [_gpu(line) for line in listing.splitlines() if line.count(",") == 3]


def _gpu(line: str) -> str:
    name, capability, memory, driver = (part.strip() for part in line.split(","))
    return f"{name}, sm{capability.replace('.', '')}, {memory}, driver {driver}"


def _cpu() -> list[Finding]:
    core = ov.Core()
    name = core.get_property("CPU", "FULL_DEVICE_NAME")
    capabilities = set(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    computes = "bf16 and f32" if "BF16" in capabilities else "f32 alone"
    shown = ", ".join(sorted(capabilities & {"FP32", "BF16", "FP16", "INT8"}))
    return [
        Finding(subject="CPU", text=f"{name}, {num_physical_cores()} cores, {shown}"),
        Finding(
            subject="target openvino",
            text=f"OpenVINO {version('openvino')} runs f32, bf16 and int8 plans here, computing "
            f"in {computes}",
        ),
    ]


def _triton() -> Finding:
    with tempfile.TemporaryDirectory() as run_dir:
        try:
            executable = find_installation(Path(run_dir)).executable
        except ServerError as error:
            return Finding(subject="Triton", text=str(error), is_problem=True)
    return Finding(subject="Triton", text=f"{executable}")


def _tensorrt() -> Finding:
    found = [f"{name} {v}" for name in _TENSORRT if (v := _version(name)) is not None]
    if not found:
        text = (
            "not installed; pip install 'llmasos[tensorrt-rtx]' compiles for GeForce and RTX GPUs"
        )
    else:
        text = f"{', '.join(found)} compiles plans here; this release does not run them yet"
    return Finding(subject="target tensorrt", text=text)


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
