"""`llmasos distill`: a student trained on what its teacher predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from llmasos_app.cli.options import MODEL_HELP, Revision


def distill(
    teacher: Annotated[str, typer.Argument(help=MODEL_HELP, show_default=False)],
    student: Annotated[
        str,
        typer.Argument(
            help="The checkpoint to train, such as a pruned one; or a directory with a config.json "
            "alone, whose network is drawn at random.",
            show_default=False,
        ),
    ],
    *,
    dataset: Annotated[
        Path, typer.Option(help="Text to train on: UTF-8, or .jsonl.", show_default=False)
    ],
    output: Annotated[Path, typer.Option(help="The directory to write.", show_default=False)],
    samples: Annotated[int, typer.Option(help="Windows of the dataset to read.")] = 512,
    seq_length: Annotated[int, typer.Option(help="Tokens of a window.")] = 256,
    steps: Annotated[int, typer.Option(help="Steps of the optimizer (AdamW).")] = 200,
    batch_size: Annotated[int, typer.Option(help="Windows of a step.")] = 8,
    accumulation: Annotated[
        int, typer.Option(help="Parts that a step's windows are computed in, to save memory.")
    ] = 1,
    learning_rate: Annotated[
        float, typer.Option(help="The highest one: after warmup, before the cosine.")
    ] = 2e-4,
    warmup: Annotated[int, typer.Option(help="Steps of rising learning rate.")] = 10,
    temperature: Annotated[float, typer.Option(help="What logits are divided by.")] = 1.0,
    top_k: Annotated[
        int, typer.Option(help="Logits of the teacher that are kept for each token.")
    ] = 64,
    hidden_weight: Annotated[
        float, typer.Option(help="What the distance of hidden states counts beside the KL.")
    ] = 0.0,
    held_out: Annotated[int, typer.Option(help="Windows that are not trained on.")] = 8,
    evaluate_every: Annotated[
        int, typer.Option(help="Steps between two measurements of the held-out KL.")
    ] = 20,
    patience: Annotated[
        int, typer.Option(help="Measurements without improvement after which training ends.")
    ] = 5,
    seed: Annotated[int, typer.Option(help="Of the order of windows.")] = 0,
    precision: Annotated[
        str, typer.Option(help="What matrices are multiplied in: f32 or bf16.")
    ] = "f32",
    revision: Revision = None,
) -> None:
    """Train a student checkpoint on the logits of its teacher, and write the best of it.

    A run that was stopped goes on from its last measurement, when it is given the same options.
    """
    from llmasos.progress import show_progress
    from llmasos_builder.checkpoint import open_checkpoint
    from llmasos_builder.compression.calibration import CalibrationOptions
    from llmasos_builder.distillation.distill import distill as distill_checkpoint
    from llmasos_builder.distillation.networks import is_config_alone
    from llmasos_builder.distillation.options import DistillOptions

    options = DistillOptions(
        calibration=CalibrationOptions(dataset=dataset, samples=samples, seq_length=seq_length),
        steps=steps,
        batch_size=batch_size,
        accumulation=accumulation,
        learning_rate=learning_rate,
        warmup=warmup,
        temperature=temperature,
        top_k=top_k,
        hidden_weight=hidden_weight,
        held_out=held_out,
        evaluate_every=evaluate_every,
        patience=patience,
        seed=seed,
        precision=cast(Literal["f32", "bf16"], precision),
    )
    with show_progress() as progress:
        opened = open_checkpoint(teacher, revision=revision, progress=progress)
        trained = (
            Path(student) / "config.json"
            if is_config_alone(Path(student))
            else open_checkpoint(student, progress=progress)
        )
        made = distill_checkpoint(opened, trained, output, options, progress)
    typer.echo(
        f"{output}: held-out KL {made.after:.4f} nats a token, {made.before:.4f} before "
        f"({made.steps} steps)"
    )
