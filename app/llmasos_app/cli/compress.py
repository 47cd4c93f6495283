"""`llmasos compress`: a recipe of prune, distill, quantize, build and evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compress(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="A YAML file.", show_default=False)],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="The directory of all stages' outputs.", show_default=False
        ),
    ],
) -> None:
    """Run the stages of a recipe one after the other: prune, distill, quantize, build, evaluate.

    Each stage is the command of its name, and takes the options of that command; the recipe gives
    it what the stage before it wrote. A stage that is done is kept until something that it depends
    on changes, and one that was stopped goes on.
    """
    from llmasos_app.recipe.recipe import read_recipe
    from llmasos_app.recipe.run import run_recipe

    assert context.parent is not None, "it is one of the commands of llmasos"
    commands = context.parent.command.commands  # type: ignore[attr-defined]
    last = run_recipe(read_recipe(recipe), output, commands, typer.echo)
    typer.echo(f"{recipe.name} is done: {last}")
