"""`llmasos embed`, `classify`, `rerank` and `fill-mask`: what encoders make of texts.

Each prints a line of JSON for each text, so that other programs can read it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Annotated, Any

import typer

from llmasos_app.cli.model import open_model
from llmasos_app.cli.options import ModelOption, PrecisionOption, Revision, Threads, Url

Texts = Annotated[
    list[str] | None,
    typer.Argument(help="Texts; without any, each line of stdin is one.", show_default=False),
]
Truncate = Annotated[
    bool, typer.Option("--truncate", help="Cut texts that are too long; else they are refused.")
]


def embed(
    texts: Texts = None,
    *,
    model: ModelOption = None,
    url: Url = None,
    prompt_name: Annotated[
        str | None,
        typer.Option(help="One of the model's prompts to put before each.", show_default=False),
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(help="Keep only the first N.", show_default=False)
    ] = None,
    truncate: Truncate = False,
    precision: PrecisionOption = None,
    revision: Revision = None,
    threads: Threads = None,
) -> None:
    """Print the vector of each text, a JSON list a line."""
    with open_model(
        model=model, url=url, precision=precision, revision=revision, threads=threads
    ) as opened:
        vectors = opened.embed(
            given_texts(texts), prompt_name=prompt_name, dimensions=dimensions, truncate=truncate
        )
    for vector in vectors:
        _print([round(float(value), 7) for value in vector])


def classify(
    texts: Texts = None,
    *,
    model: ModelOption = None,
    url: Url = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Label the entities of each text, not the text.")
    ] = False,
    truncate: Truncate = False,
    precision: PrecisionOption = None,
    revision: Revision = None,
    threads: Threads = None,
) -> None:
    """Print the label and the scores of each text, a JSON object a line."""
    given = given_texts(texts)
    with open_model(
        model=model, url=url, precision=precision, revision=revision, threads=threads
    ) as opened:
        if tokens:
            for spans in opened.classify_tokens(given, aggregation="simple", truncate=truncate):
                _print([dataclasses.asdict(span) for span in spans])
        else:
            for found in opened.classify(given, truncate=truncate):
                _print(dataclasses.asdict(found))


def rerank(
    query: Annotated[str, typer.Argument(help="What is looked for.", show_default=False)],
    documents: Texts = None,
    *,
    model: ModelOption = None,
    url: Url = None,
    top_n: Annotated[
        int | None, typer.Option(help="Print only the best N.", show_default=False)
    ] = None,
    truncate: Truncate = False,
    precision: PrecisionOption = None,
    revision: Revision = None,
    threads: Threads = None,
) -> None:
    """Print documents by how well they answer a query, the best first, a JSON object a line."""
    with open_model(
        model=model, url=url, precision=precision, revision=revision, threads=threads
    ) as opened:
        found = opened.rerank(query, given_texts(documents), top_n=top_n, truncate=truncate)
    for one in found:
        _print(dataclasses.asdict(one))


def fill_mask(
    texts: Texts = None,
    *,
    model: ModelOption = None,
    url: Url = None,
    top_k: Annotated[int, typer.Option(help="Tokens to print for each gap.")] = 5,
    precision: PrecisionOption = None,
    revision: Revision = None,
    threads: Threads = None,
) -> None:
    """Print the likeliest tokens for the gaps of each text, a JSON list of gaps a line."""
    with open_model(
        model=model, url=url, precision=precision, revision=revision, threads=threads
    ) as opened:
        for gaps in opened.fill_mask(given_texts(texts), top_k=top_k):
            _print([[dataclasses.asdict(token) for token in gap] for gap in gaps])


def given_texts(given: list[str] | None) -> list[str]:
    """Returns the texts of the command line, or the lines of stdin."""
    return given or [line.rstrip("\n") for line in sys.stdin]


def _print(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False))
