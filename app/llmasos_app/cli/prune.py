"""`llmasos prune`: a smaller checkpoint out of another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmasos_app.cli.evaluate import read_text
from llmasos_app.cli.options import MODEL_HELP, Revision, as_part


def prune(
    checkpoint: Annotated[str, typer.Argument(help=MODEL_HELP, show_default=False)],
    *,
    mlp_width: Annotated[
        str | None,
        typer.Option(help="The part of each MLP's width to keep, as 75%.", show_default=False),
    ] = None,
    kv_heads: Annotated[
        str | None,
        typer.Option(
            help="The part of key and value heads to keep, with the query heads that read them.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="The part of the layers to keep.", show_default=False)
    ] = None,
    keep_params: Annotated[
        str | None,
        typer.Option(
            help="The part of all parameters to keep: MLPs become as narrow as it takes.",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        Path,
        typer.Option(help="A text that parts are ranked over, UTF-8.", show_default=False),
    ],
    output: Annotated[Path, typer.Option(help="The directory to write.", show_default=False)],
    samples: Annotated[int, typer.Option(help="Windows of the dataset to read.")] = 16,
    seq_length: Annotated[int, typer.Option(help="Tokens of a window.")] = 256,
    revision: Revision = None,
) -> None:
    """Leave out neurons, heads or layers that matter least over a text, and write what stays.

    Widths are rounded to multiples of 64.
    """
    from llmasos.progress import show_progress
    from llmasos_builder.checkpoint import open_checkpoint
    from llmasos_builder.pruning.prune import prune as prune_checkpoint
    from llmasos_builder.pruning.sizes import PruneOptions

    options = PruneOptions(
        mlp_width=as_part(mlp_width, "mlp-width"),
        kv_heads=as_part(kv_heads, "kv-heads"),
        layers=as_part(layers, "layers"),
        keep_params=as_part(keep_params, "keep-params"),
        num_windows=samples,
        seq_length=seq_length,
    )
    content = read_text(dataset, name="dataset")
    with show_progress() as progress:
        opened = open_checkpoint(checkpoint, revision=revision, progress=progress)
        made = prune_checkpoint(opened, content, output, options, progress)
    typer.echo(
        f"{output}: {made.num_layers} layers, {made.num_heads} heads ({made.num_kv_heads} of keys "
        f"and values), MLPs {made.width} wide; {made.num_params} parameters"
    )
