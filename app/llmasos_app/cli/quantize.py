"""`llmasos quantize`: a checkpoint with quantized matrices out of another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmasos_app.cli.options import MODEL_HELP, Revision


def quantize(
    checkpoint: Annotated[str, typer.Argument(help=MODEL_HELP, show_default=False)],
    *,
    format: Annotated[  # noqa: A002 - the option's name
        str, typer.Option(help="W4A16, W8A16, W8A8 or FP8: bits of weights and of activations.")
    ] = "W4A16",
    method: Annotated[
        str,
        typer.Option(
            help="rtn: nearest codes; mse: on the grid of the least squared error; awq: columns "
            "scaled for their inputs over the dataset, then rtn; gptq: with the errors made up for "
            "over the dataset; awq+gptq: both. By default gptq, for FP8 rtn.",
            show_default=False,
        ),
    ] = "",
    group_size: Annotated[
        int | None,
        typer.Option(help="W4A16: inputs that share a scale; by default 64.", show_default=False),
    ] = None,
    sym: Annotated[
        bool, typer.Option("--sym/--asym", help="W4A16: without zero points, or with them.")
    ] = True,
    bits_budget: Annotated[
        float | None,
        typer.Option(
            help="W4A16: bits of a weight on average, scales included, such as 4.5; the matrices "
            "that lose most get 8 bits.",
            show_default=False,
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            help="Modules to leave as they are, such as down_proj or layers.0, or re:REGEX; may be "
            "given again. The output head and the embeddings always stay.",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="Calibration text: UTF-8, or .jsonl whose lines have text or messages. By default "
            "the topics of Python's manual.",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[int, typer.Option(help="Windows of the dataset to read.")] = 64,
    seq_length: Annotated[int, typer.Option(help="Tokens of a window.")] = 512,
    output: Annotated[Path, typer.Option(help="The directory to write.", show_default=False)],
    revision: Revision = None,
) -> None:
    """Quantize the matrices of a checkpoint's layers, and write a compressed-tensors checkpoint.

    A run that was stopped goes on where it was, when it is given the same options.
    """
    from llmasos.progress import show_progress
    from llmasos_builder.checkpoint import open_checkpoint
    from llmasos_builder.compression.calibration import CalibrationOptions
    from llmasos_builder.compression.formats import format_of
    from llmasos_builder.compression.quantize import quantize as quantize_checkpoint
    from llmasos_builder.compression.quantize_options import QuantizeOptions, as_method

    stored = format_of(format, group_size=group_size, symmetric=sym)
    options = QuantizeOptions(
        format=stored,
        method=as_method(method or ("rtn" if stored.integers is None else "gptq")),
        ignore=tuple(ignore or ()),
        bits_budget=bits_budget,
        calibration=CalibrationOptions(dataset=dataset, samples=samples, seq_length=seq_length),
    )
    with show_progress() as progress:
        opened = open_checkpoint(checkpoint, revision=revision, progress=progress)
        written = quantize_checkpoint(opened, output, options, progress)
    typer.echo(f"{output}: {written.num_matrices} matrices in {written.bits:.2f} bits a weight")
