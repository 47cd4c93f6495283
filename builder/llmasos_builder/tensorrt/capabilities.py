"""What TensorRT can compile for each GPU, so that a build is refused before it begins.

A GPU is named by its compute capability, such as sm89; `current` is that of the machine that
builds, whatever it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmasos.engine.engine_io import RTX_GPUS
from llmasos.engine.plan import PRECISIONS, Precision
from llmasos.errors import InvalidRequestError, UnsupportedArchitectureError

from llmasos_builder.tensorrt.library import LibraryName

CURRENT = "current"
_SINCE: Mapping[Precision, int] = {
    "f32": 80,
    "fp16": 75,
    "bf16": 80,
    "int8": 75,
    "int4": 80,
    "fp8": 89,
    "nvfp4": 120,
}
_COLLECTIVES_SINCE = 80
HEAD_SIZES = range(16, 257, 8)
"""Head sizes that fused attention kernels support on every GPU of the table."""


def precisions_of(gpu: str) -> tuple[Precision, ...]:
    """Returns the precisions that engines for this GPU support; for `current`, possibly all."""
    capability = max(_SINCE.values()) if gpu == CURRENT else _capability(gpu)
    return tuple(p for p in PRECISIONS["tensorrt"] if _SINCE[p] <= capability)


def libraries_for(gpus: Sequence[str]) -> tuple[LibraryName, ...]:
    """Returns the libraries that can compile for these GPUs, with `current` resolved."""
    return ("tensorrt_rtx",) if set(gpus) <= RTX_GPUS.keys() else ("tensorrt",)


def check_gpus(gpus: Sequence[str], precision: Precision) -> None:
    """Raises InvalidRequestError for an unsupported GPU, or one that lacks the precision."""
    known = f"{', '.join(RTX_GPUS)} or {CURRENT}"
    if not gpus:
        raise InvalidRequestError(f"a TensorRT engine is compiled for a gpu: {known}")
    if len(set(gpus)) < len(gpus):
        raise InvalidRequestError(f"gpu must name each one once, got {', '.join(gpus)}")
    for gpu in gpus:
        if gpu not in (*RTX_GPUS, CURRENT):
            raise InvalidRequestError(
                f"gpu must be one of {known}, got {gpu!r}",
                hint=f"any other is compiled for on a machine that has it, by {CURRENT}",
            )
        check_precision(gpu, precision)
    if CURRENT in gpus and len(gpus) > 1:
        raise InvalidRequestError(
            f"--gpu {CURRENT} cannot be combined with other GPUs, got {', '.join(gpus)}",
            hint="name this machine's GPU too",
        )


def check_precision(gpu: str, precision: Precision) -> None:
    """Raises InvalidRequestError for a precision that this GPU lacks."""
    if precision not in precisions_of(gpu):
        raise InvalidRequestError(
            f"precision {precision} needs at least sm{_SINCE[precision]}, and gpu is {gpu}",
            hint=f"{gpu} can have {', '.join(precisions_of(gpu))}",
        )


def check_head_size(size: int) -> None:
    """Raises UnsupportedArchitectureError for a head size that no fused kernel supports."""
    if size not in HEAD_SIZES:
        raise UnsupportedArchitectureError(
            f"TensorRT has attention for heads of {HEAD_SIZES[0]} to {HEAD_SIZES[-1]} elements, "
            f"in steps of {HEAD_SIZES.step}, and these have {size}"
        )


def check_collectives(gpus: Sequence[str], tensor_parallel_size: int) -> None:
    """Raises InvalidRequestError for a GPU on which ranks cannot run collectives.

    TensorRT's documentation names the oldest GPU that can; its compiler accepts any.
    """
    for gpu in gpus:
        if tensor_parallel_size > 1 and gpu != CURRENT and _capability(gpu) < _COLLECTIVES_SINCE:
            raise InvalidRequestError(
                f"tensor_parallel_size {tensor_parallel_size} needs at least "
                f"sm{_COLLECTIVES_SINCE}, and gpu is {gpu}"
            )


def _capability(gpu: str) -> int:
    return int(gpu.removeprefix("sm"))
