"""The commands by name."""

from __future__ import annotations

from typing import Annotated

import typer
from llmasos.version import __version__

from llmasos_app.cli.build import build
from llmasos_app.cli.cache import cache
from llmasos_app.cli.chat import chat
from llmasos_app.cli.compress import compress
from llmasos_app.cli.demo import demo
from llmasos_app.cli.distill import distill
from llmasos_app.cli.doctor import doctor
from llmasos_app.cli.encode import classify, embed, fill_mask, rerank
from llmasos_app.cli.evaluate import evaluate
from llmasos_app.cli.generate import generate
from llmasos_app.cli.inspect import inspect
from llmasos_app.cli.plan import plan
from llmasos_app.cli.prune import prune
from llmasos_app.cli.quantize import quantize
from llmasos_app.cli.report import report
from llmasos_app.cli.serve import serve
from llmasos_app.cli.text_tasks import summarize, translate
from llmasos_app.cli.verify import verify

app = typer.Typer(
    help="From a Hugging Face checkpoint to a Triton server, with or without a GPU.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS = (
    plan,
    prune,
    distill,
    quantize,
    compress,
    build,
    serve,
    generate,
    chat,
    translate,
    summarize,
    embed,
    rerank,
    classify,
    fill_mask,
    inspect,
    evaluate,
    report,
    verify,
)
for command in (*_COMMANDS, doctor, demo):
    app.command()(command)
app.add_typer(cache, name="cache")


def print_error(message: str) -> None:
    """One line on stderr, red on a terminal."""
    typer.secho(" ".join(f"error: {message}".split()), fg="red", err=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmasos {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """From a Hugging Face checkpoint to a Triton server, with or without a GPU."""
