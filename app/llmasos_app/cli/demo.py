"""`llmasos demo`: the whole way from a checkpoint to an answer from a Triton server."""

from __future__ import annotations

from typing import Annotated

import typer

from llmasos_app.cli.model import chosen_precision
from llmasos_app.cli.options import MODEL_HELP, PrecisionOption


def demo(
    prompt: Annotated[
        str, typer.Argument(help="The question.")
    ] = "Which city is the capital of France?",
    model: Annotated[str, typer.Option("--model", "-m", help=MODEL_HELP)] = "smollm2-135m-instruct",
    precision: PrecisionOption = None,
    max_tokens: Annotated[int, typer.Option(help="Most tokens to generate.")] = 256,
) -> None:
    """Compile a model, serve it with Triton, stream one answer through gRPC, and stop."""
    from llmasos_app.demo import run_demo

    run_demo(
        prompt, model=model, precision=chosen_precision(model, precision), max_tokens=max_tokens
    )
