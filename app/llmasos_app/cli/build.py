"""`llmasos build`: compile a checkpoint into a Triton model repository."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from llmasos_app.cli.options import (
    DEFAULT_PRECISION,
    Int4ExceptOption,
    KVCachePrecisionOption,
    MaxBatchSizeOption,
    MaxNumTokensOption,
    MaxSeqLenOption,
    Revision,
    TargetOption,
    TargetPrecisionOption,
)


def build(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="A Hugging Face directory, a GGUF file, a hub id, or smollm2-135m-instruct.",
            show_default=False,
        ),
    ],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Directory to write; only an empty one or an older build is replaced.",
        ),
    ],
    target: TargetOption = "auto",
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            help="For tensorrt: sm75, sm80, sm86, sm89, sm120, sm121, or current for this "
            "machine's own; may be given again.",
            show_default=False,
        ),
    ] = None,
    precision: TargetPrecisionOption = None,
    int4_except: Int4ExceptOption = None,
    kv_cache_precision: KVCachePrecisionOption = None,
    deterministic: Annotated[
        bool,
        typer.Option("--deterministic", help="Answers do not depend on the batch; slower."),
    ] = False,
    max_seq_len: MaxSeqLenOption = None,
    max_batch_size: MaxBatchSizeOption = 64,
    max_num_tokens: MaxNumTokensOption = 2048,
    num_candidates: Annotated[
        int, typer.Option(help="Number of likeliest tokens that a step returns (TensorRT).")
    ] = 64,
    full_logits: Annotated[
        bool,
        typer.Option(
            "--full-logits", help="Return the logits of all tokens from each step too (TensorRT)."
        ),
    ] = False,
    tp: Annotated[
        int,
        typer.Option(
            help="Tensor-parallel size: number of GPUs that share each matrix (TensorRT)."
        ),
    ] = 1,
    pp: Annotated[int, typer.Option(help="Number of pipeline-parallel stages (TensorRT).")] = 1,
    name: Annotated[
        str | None, typer.Option(help="Name of the engine.", show_default=False)
    ] = None,
    revision: Revision = None,
) -> None:
    """Compile a checkpoint into a Triton model repository that is ready to serve."""
    from llmasos.errors import CheckpointError
    from llmasos.progress import show_progress
    from llmasos_builder.build import BuildOptions
    from llmasos_builder.build import build as build_repository

    from llmasos_app.cache.engine_cache import find_built

    if find_built(checkpoint) is not None:
        raise CheckpointError(
            f"{checkpoint} is built already", hint="serve it, or name its checkpoint"
        )
    options = BuildOptions(
        target=target,
        gpus=tuple(gpu or ()),
        precision=precision or DEFAULT_PRECISION[target],
        int4_except=tuple(int4_except or ()),
        kv_cache_precision=kv_cache_precision,
        deterministic=deterministic,
        max_seq_len=max_seq_len,
        max_batch_size=max_batch_size,
        max_num_tokens=max_num_tokens,
        num_candidates=num_candidates,
        full_logits=full_logits,
        tensor_parallel_size=tp,
        pipeline_parallel_size=pp,
        name=name,
        revision=revision,
    )
    with show_progress() as progress:
        repository = build_repository(checkpoint, output, options, progress)
    if target == "tensorrt":
        typer.echo(f"{repository} is compiled for {', '.join(options.gpus)}")
    else:
        typer.echo(f"{repository} is ready: llmasos serve {_argument(repository)}")


def _argument(path: Path) -> str:
    """A path as it must be written in a shell, which runs what some names say."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
