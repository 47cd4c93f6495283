"""`llmasos evaluate`: how well a compiled engine predicts a text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from llmasos.errors import InvalidRequestError

from llmasos_app.cli.model import chosen_precision
from llmasos_app.cli.options import MODEL_HELP, PrecisionOption, Revision, Threads

if TYPE_CHECKING:
    from llmasos_runtime.evaluation.evaluate import Evaluation


def evaluate(
    plan: Annotated[str, typer.Argument(help=MODEL_HELP, show_default=False)],
    *,
    text: Annotated[Path, typer.Option(help="The file to predict, UTF-8.", show_default=False)],
    window: Annotated[
        int | None,
        typer.Option(
            help="Tokens seen together; by default 1024, or max_seq_len.", show_default=False
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            help="Tokens between the beginnings of two windows; by default the window.",
            show_default=False,
        ),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(help="Evaluate only the first N tokens.", show_default=False)
    ] = None,
    token_by_token: Annotated[
        bool,
        typer.Option(
            "--token-by-token",
            help="Feed one token at a time through the KV cache, as in decoding.",
        ),
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            help="A model with the same tokenizer, such as the checkpoint in f32: how often both "
            "have the same likeliest token, and KL(that || this).",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    precision: PrecisionOption = None,
    threads: Threads = None,
    revision: Revision = None,
) -> None:
    """Measure the perplexity of an engine over a text file, on the compiled engine itself.

    Without --stride the first token of each window has no context and is not predicted.
    """
    from llmasos.progress import show_progress
    from llmasos_runtime.evaluation.evaluate import EvaluationOptions
    from llmasos_runtime.evaluation.evaluate import evaluate as evaluate_plan

    from llmasos_app.cache.engine_cache import find_plan

    content = read_text(text)
    options = EvaluationOptions(
        window=window,
        stride=stride,
        token_by_token=token_by_token,
        num_tokens=tokens,
        num_threads=threads,
    )
    chosen = chosen_precision(plan, precision)
    plan_dir = find_plan(plan, precision=chosen, revision=revision)
    other = None if against is None else find_plan(against, precision="f32", revision=revision)
    with show_progress() as progress:
        found = evaluate_plan(plan_dir, content, options, against=other, progress=progress)
    if as_json:
        record = {
            **dataclasses.asdict(found),
            "perplexity": found.perplexity,
            "bits_per_byte": found.bits_per_byte,
        }
        typer.echo(json.dumps(record, indent=2))
    else:
        _print_table(found, text)


def read_text(path: Path, *, name: str = "text") -> str:
    """Returns the text of a file. Raises InvalidRequestError, which says the option's name."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidRequestError(f"{name} {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{name} {path} is not UTF-8 (byte {error.start})") from error


def _print_table(found: Evaluation, text: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    title = f"{found.name} in {found.precision}, KV cache in {found.kv_cache_precision}: {text}"
    table = Table(title=title, show_header=False, title_justify="left")
    rows = {
        "perplexity": f"{found.perplexity:.4f}",
        "bits per byte": f"{found.bits_per_byte:.4f}",
        "predicted": f"{found.num_predicted} of {found.num_tokens} tokens, {found.num_bytes} bytes",
        "windows": f"of {found.window} tokens, {found.stride} apart",
        "read": "token by token through the KV cache" if found.token_by_token else "in chunks",
    }
    other = found.distance
    if other is not None:
        name = f"{other.name} in {other.precision}, KV cache in {other.kv_cache_precision}"
        rows |= {
            "against": name,
            "same likeliest token": f"{other.agreement:.2%}",
            "KL(that || this)": f"{other.kl_divergence:.3g} nats a token",
        }
    for name, value in rows.items():
        table.add_row(name, value)
    Console().print(table)
