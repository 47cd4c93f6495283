"""`llmasos verify`: whether a TensorRT engine's network is right, without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from llmasos.errors import PlanError


def verify(
    path: Annotated[
        Path, typer.Argument(help="A repository or plan built for tensorrt.", show_default=False)
    ],
) -> None:
    """Interpret a TensorRT engine's network and compare it with the checkpoint's, on the CPU.

    The network is made again from the checkpoint, as the engine was; the compiled engine
    itself runs on a GPU alone.
    """
    from llmasos.progress import show_progress
    from llmasos_builder.tensorrt.verify import verify as verify_plan

    from llmasos_app.cache.engine_cache import find_built

    plan_dir = find_built(path)
    if plan_dir is None:
        raise PlanError(f"{path} is neither a built repository nor a plan")
    with show_progress() as progress:
        checks = verify_plan(plan_dir, progress)
    for check in checks:
        verdict = "ok" if check.passed else "differs"
        typer.echo(
            f"{verdict:8}{check.name}: {check.error:.4%} of the largest logit, "
            f"{check.allowed:.2%} allowed"
        )
    if not all(check.passed for check in checks):
        raise typer.Exit(1)
