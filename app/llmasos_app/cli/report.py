"""`llmasos report`: what each engine that a model can become takes, gives and loses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from llmasos_app.cli.evaluate import read_text
from llmasos_app.cli.options import MODEL_HELP, PRECISIONS, Revision, Threads, as_part

if TYPE_CHECKING:
    from llmasos.engine.plan import Precision

    from llmasos_app.report.choice import Limits
    from llmasos_app.report.report import Report


def report(
    models: Annotated[list[str], typer.Argument(help=MODEL_HELP, show_default=False)],
    *,
    text: Annotated[Path, typer.Option(help="The file to predict, UTF-8.", show_default=False)],
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            "-p",
            help=f"Build checkpoints in it: {', '.join(PRECISIONS)}; may be given again. By "
            "default int8 and int4.",
            show_default=False,
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="The model that all are compared with, in f32 unless it is built; by default the "
            "first one.",
            show_default=False,
        ),
    ] = None,
    window: Annotated[int, typer.Option(help="Tokens seen together.")] = 512,
    tokens: Annotated[int, typer.Option(help="Evaluate only the first N tokens.")] = 4096,
    max_memory: Annotated[
        str | None,
        typer.Option(help="Choose a model within this memory, as 400MB.", show_default=False),
    ] = None,
    max_ppl_increase: Annotated[
        str | None,
        typer.Option(
            help="Choose one whose perplexity is at most this much above the reference's, as 5%.",
            show_default=False,
        ),
    ] = None,
    min_speed: Annotated[
        float | None,
        typer.Option(
            help="Choose one with at least so many tokens/s at one stream.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A directory for report.json, report.md, report.png and report.html.",
            show_default=False,
        ),
    ] = None,
    threads: Threads = None,
    revision: Revision = None,
) -> None:
    """Build or take variants of a model, measure each, and print one table: size, memory, time to
    load and to the first token, tokens/s, perplexity, and the distance from the reference.

    What was measured is kept. Of the models within the limits the fastest is chosen.
    """
    from llmasos.byte_size import parse_bytes
    from llmasos.progress import show_progress
    from llmasos_runtime.evaluation.evaluate import EvaluationOptions

    from llmasos_app.report.chart import check_matplotlib
    from llmasos_app.report.choice import Limits
    from llmasos_app.report.measurement import Conditions
    from llmasos_app.report.report import make_report
    from llmasos_app.report.variant import reference_of, variants_of

    limits = Limits(
        max_memory=None if max_memory is None else parse_bytes(max_memory, name="max-memory"),
        max_ppl_increase=as_part(max_ppl_increase, "max-ppl-increase", "5%"),
        min_speed=min_speed,
    )
    if output is not None:
        check_matplotlib()
    conditions = Conditions(
        name=text.name,
        text=read_text(text),
        evaluation=EvaluationOptions(window=window, num_tokens=tokens, num_threads=threads),
    )
    with show_progress() as progress:
        made = make_report(
            variants_of(models, _known_precisions(precision), revision=revision),
            reference_of(reference or models[0], revision=revision),
            conditions,
            limits,
            progress=progress,
        )
    _print_table(made)
    if output is not None:
        made.write(output)
        typer.echo(f"{output / 'report.html'} has the table and the chart")
    _print_choice(made, limits)


def _known_precisions(given: list[str] | None) -> list[Precision]:
    """Returns each once. Raises InvalidRequestError for one that there is not."""
    from llmasos.errors import InvalidRequestError

    names = list(dict.fromkeys(given or ("int8", "int4")))
    for name in names:
        if name not in PRECISIONS:
            raise InvalidRequestError(
                f"precision must be one of {', '.join(PRECISIONS)}, got {name!r}"
            )
    return cast("list[Precision]", names)


def _print_table(made: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    from llmasos_app.report.table import COLUMNS, cells

    # A column for each model: names and numbers stay whole on a terminal of 80 columns.
    table = Table(caption=made.conditions, caption_justify="left")
    each = [cells(row, made.reference) for row in made.rows]
    table.add_column("")
    for row in made.rows:
        table.add_column(row.name, justify="right", style="bold" if row is made.chosen else None)
    for index, column in enumerate(COLUMNS[1:], start=1):
        table.add_row(column, *(row[index] for row in each))
    Console().print(table)


def _print_choice(made: Report, limits: Limits) -> None:
    from llmasos.errors import InvalidRequestError

    if not limits.are_any:
        return
    if made.chosen is not None:
        typer.echo(f"{made.chosen.name} is the fastest within the limits: {made.chosen.command}")
        return
    reasons = (
        f"{row.name} {' and '.join(limits.broken_by(row, made.reference))}" for row in made.rows
    )
    raise InvalidRequestError(f"no model keeps to the limits: {'; '.join(reasons)}")
