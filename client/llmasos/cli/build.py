"""`llmasos build`: compile a checkpoint into a Triton model repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmasos.cli.options import PrecisionOption, Revision


def build(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="A Hugging Face directory, a GGUF file, a hub id, or smollm2-135m-instruct.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Directory to write; it must not exist yet."),
    ],
    precision: PrecisionOption = "int8",
    revision: Revision = None,
) -> None:
    """Compile a checkpoint into a Triton model repository that is ready to serve."""
    from llmasos_builder.build import BuildOptions
    from llmasos_builder.build import build as build_repository

    from llmasos.progress import show_progress

    options = BuildOptions(precision=precision, revision=revision)
    with show_progress() as progress:
        repository = build_repository(checkpoint, output, options, progress)
    typer.echo(f"{repository} is ready: llmasos serve {repository}")
