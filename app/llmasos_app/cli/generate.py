"""`llmasos generate`: continue one prompt."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from llmasos.generation.stream import PieceStream
from llmasos.outputs import Generation
from llmasos.sampling import SamplingParams

from llmasos_app.cli.model import open_model
from llmasos_app.cli.options import (
    GenerationConfigOption,
    ModelOption,
    PrecisionOption,
    Revision,
    Threads,
    Url,
)
from llmasos_app.cli.sampling_options import sampling_options


@sampling_options()
def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="Text to continue; read from stdin when left out.")
    ] = None,
    *,
    model: ModelOption = None,
    url: Url = None,
    precision: PrecisionOption = None,
    revision: Revision = None,
    threads: Threads = None,
    params: SamplingParams,
    generation_config: GenerationConfigOption = None,
    special_tokens: Annotated[
        bool,
        typer.Option(
            "--special-tokens/--no-special-tokens",
            help="Whether the tokenizer adds its own, such as the one that begins a text; not "
            "for a prompt that has them.",
        ),
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole result as one JSON object.")
    ] = False,
) -> None:
    """Continue a prompt, in this process or through a server, printing text as it comes."""
    text = sys.stdin.read() if prompt is None else prompt
    with (
        open_model(
            model=model,
            url=url,
            precision=precision,
            revision=revision,
            threads=threads,
            generation_config=generation_config,
        ) as opened,
        opened.stream(text, params, add_special_tokens=special_tokens) as stream,
    ):
        if as_json:
            typer.echo(json.dumps(dataclasses.asdict(stream.read()), ensure_ascii=False))
        elif params.n > 1:
            print_each(stream.read().choices)
        else:
            print_text(stream)


def print_text(stream: PieceStream) -> None:
    """Print pieces as they come, and a line break at the end."""
    for piece in stream:
        typer.echo(piece.text, nl=False)
        sys.stdout.flush()
    typer.echo()


def print_each(answers: Sequence[Generation]) -> None:
    """Print several answers, each under its number: as they come their texts would mix."""
    for number, answer in enumerate(answers, 1):
        typer.echo(f"--- {number}\n{answer.text}")
