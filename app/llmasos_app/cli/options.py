"""Options that several commands share, but for those of sampling (`sampling_options`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

# The plan's module takes a tenth of a second to import, so that its names stand here again.
if TYPE_CHECKING:
    from llmasos.engine.plan import KVCachePrecision, Precision
    from llmasos.generation_config import GenerationConfigChoice
    from llmasos_builder.options import BuildTarget
else:
    BuildTarget = GenerationConfigChoice = KVCachePrecision = Precision = str

PRECISIONS_OF_TARGET: Mapping[BuildTarget, tuple[Precision, ...]] = {
    "auto": ("f32", "bf16", "int8", "int4"),
    "openvino": ("f32", "bf16", "int8", "int4"),
    "native": ("int8", "int4"),
    "tensorrt": ("f32", "fp16", "bf16", "int8", "int4", "fp8", "nvfp4"),
    "tensorrt-llm": ("f32", "fp16", "bf16", "fp8"),
}
DEFAULT_PRECISION: Mapping[BuildTarget, Precision] = {
    "auto": "int8",
    "openvino": "int8",
    "native": "int8",
    "tensorrt": "int8",
    "tensorrt-llm": "bf16",
}
PRECISIONS = PRECISIONS_OF_TARGET["openvino"]
"""Those that a command which builds for itself can build."""
KV_CACHE_PRECISIONS: tuple[KVCachePrecision, ...] = ("f32", "fp16", "bf16", "u8")


def _known_precision(name: str | None) -> str | None:
    return None if name is None else _one_of(name, PRECISIONS)


def _known_to_a_target(name: str | None) -> str | None:
    return None if name is None else _one_of(name, PRECISIONS_OF_TARGET["tensorrt"])


def _known_target(name: str) -> str:
    return _one_of(name, tuple(PRECISIONS_OF_TARGET))


def _known_kv_cache_precision(name: str | None) -> str | None:
    return None if name is None else _one_of(name, KV_CACHE_PRECISIONS)


def _known_generation_config(name: str | None) -> str | None:
    return None if name is None else _one_of(name, ("auto", "none"))


def _one_of(name: str, known: tuple[str, ...]) -> str:
    """The name; a usage error lists the names there are."""
    if name not in known:
        raise typer.BadParameter(f"must be one of {', '.join(known)}, got {name}")
    return name


MODEL_HELP = (
    "A built repository or plan, a checkpoint directory, a GGUF file, a hub id, "
    "or smollm2-135m-instruct."
)

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help=f"{MODEL_HELP} With --url: the name of one of the server's models.",
        show_default=False,
    ),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(
        "--precision",
        "-p",
        help=f"Precision of a checkpoint's weights: {', '.join(PRECISIONS)}; by default int8.",
        callback=_known_precision,
        show_default=False,
    ),
]
TargetPrecisionOption = Annotated[
    Precision | None,
    typer.Option(
        "--precision",
        "-p",
        help="Precision of the weights; "
        + "; ".join(f"{target}: {', '.join(p)}" for target, p in PRECISIONS_OF_TARGET.items())
        + ". By default int8, for tensorrt-llm bf16; there it must be the checkpoint's own.",
        callback=_known_to_a_target,
        show_default=False,
    ),
]
TargetOption = Annotated[
    BuildTarget,
    typer.Option(
        help="Compiler: openvino for CPUs, native for machine code of its own on CPUs with "
        "AVX2 or AVX-512, auto for native where it can compile the network in int8 or int4 and "
        "openvino elsewhere, tensorrt for NVIDIA GPUs; tensorrt-llm has NVIDIA's package of that "
        "name load the checkpoint.",
        callback=_known_target,
    ),
]
KVCachePrecisionOption = Annotated[
    KVCachePrecision | None,
    typer.Option(
        "--kv-cache-precision",
        help=f"Precision of keys and values: {', '.join(KV_CACHE_PRECISIONS)}. "
        "By default u8 for int8 and int4, else that of the weights; tensorrt keeps what it "
        "computes in.",
        callback=_known_kv_cache_precision,
        show_default=False,
    ),
]
Int4ExceptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--int4-except",
        help="With int4 for openvino: matrices to keep in int8, such as down_proj, layers.0 "
        "or model.layers.*.self_attn.?_proj; may be given again.",
        show_default=False,
    ),
]
MaxSeqLenOption = Annotated[
    int | None, typer.Option(help="Tokens of one prompt and its answer.", show_default=False)
]
MaxBatchSizeOption = Annotated[int, typer.Option(help="Sequences in one step.")]
MaxNumTokensOption = Annotated[int, typer.Option(help="Tokens in one step.")]
Revision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a hub id.", show_default=False)
]
Url = Annotated[
    str | None,
    typer.Option(
        help="Ask a running server instead: grpc://host:port or http://host:port.",
        show_default=False,
    ),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Number of CPU threads.", show_default=False)
]
GenerationConfigOption = Annotated[
    GenerationConfigChoice | None,
    typer.Option(
        "--generation-config",
        help="auto: the model's generation_config.json fills in sampling options that are left "
        "out; none: it does not. By default auto.",
        callback=_known_generation_config,
        show_default=False,
    ),
]


def as_part(percent: str | None, name: str, example: str = "75%") -> float | None:
    """Returns a percentage as a part of 1; None for None. Raises InvalidRequestError."""
    from llmasos.errors import InvalidRequestError

    if percent is None:
        return None
    try:
        part = float(percent.removesuffix("%")) / 100
    except ValueError as error:
        raise InvalidRequestError(f"{name} is {percent}, must be such as {example}") from error
    if not 0 <= part < float("inf"):
        raise InvalidRequestError(f"{name} is {percent}, must be at least 0%")
    return part
