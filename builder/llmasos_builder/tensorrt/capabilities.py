"""What TensorRT can compile for which GPU, so that a build is refused before it begins.

`current` is the GPU of the machine that builds, of whatever kind; TensorRT itself refuses
what that one lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmasos.errors import InvalidRequestError
from llmasos.plan import PRECISIONS, Precision

from llmasos_builder.tensorrt.library import LibraryName

CURRENT = "current"
GPUS: Mapping[str, str] = {
    "sm75": "Turing: GeForce RTX 20, T4",
    "sm80": "Ampere: A100, A30",
    "sm86": "Ampere: GeForce RTX 30, A10, A40",
    "sm89": "Ada: GeForce RTX 40, L4, L40S",
    "sm120": "Blackwell: GeForce RTX 50, RTX PRO Blackwell",
    "sm121": "Blackwell: DGX Spark",
}
"""Those that can be compiled for ahead of time, oldest first, and what they are."""

_SINCE: Mapping[Precision, str] = {"bf16": "sm80", "fp8": "sm89", "nvfp4": "sm120"}


def precisions_of(gpu: str) -> tuple[Precision, ...]:
    """The precisions that engines for this GPU can have; of `current`, all."""
    order = list(GPUS)
    return tuple(
        precision
        for precision in PRECISIONS["tensorrt"]
        if gpu == CURRENT or order.index(gpu) >= order.index(_SINCE.get(precision, order[0]))
    )


def libraries_for(gpus: Sequence[str]) -> tuple[LibraryName, ...]:
    """What can compile for these, the better first."""
    return ("tensorrt", "tensorrt_rtx") if tuple(gpus) == (CURRENT,) else ("tensorrt_rtx",)


def check_gpus(gpus: Sequence[str], precision: Precision) -> None:
    """Raise InvalidRequestError for a GPU that cannot be compiled for, or lacks the precision."""
    known = f"{', '.join(GPUS)} or {CURRENT}"
    if not gpus:
        raise InvalidRequestError(f"a TensorRT engine is compiled for a gpu: {known}")
    if len(set(gpus)) < len(gpus):
        raise InvalidRequestError(f"gpu must name each one once, got {', '.join(gpus)}")
    for gpu in gpus:
        if gpu not in (*GPUS, CURRENT):
            raise InvalidRequestError(
                f"gpu must be one of {known}, got {gpu!r}",
                hint=f"any other is compiled for on a machine that has it, by {CURRENT}",
            )
        if precision not in precisions_of(gpu):
            raise InvalidRequestError(
                f"precision {precision} needs at least {_SINCE[precision]}, and gpu is {gpu}",
                hint=f"{gpu} can have {', '.join(precisions_of(gpu))}",
            )
    if CURRENT in gpus and len(gpus) > 1:
        raise InvalidRequestError(
            f"gpu {CURRENT} goes with no other, got {', '.join(gpus)}",
            hint="name this machine's GPU too",
        )
