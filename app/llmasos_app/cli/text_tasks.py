"""`llmasos translate` and `llmasos summarize`: what models with an encoder make of texts."""

from __future__ import annotations

from typing import Annotated

import typer
from llmasos.sampling import SamplingParams

from llmasos_app.cli.encode import Texts, given_texts
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
def translate(
    texts: Texts = None,
    *,
    source: Annotated[
        str | None,
        typer.Option(help="Language of the texts, such as en or English.", show_default=False),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Language of the translations.", show_default=False)
    ] = None,
    model: ModelOption = None,
    url: Url = None,
    precision: PrecisionOption = None,
    revision: Revision = None,
    threads: Threads = None,
    params: SamplingParams,
    generation_config: GenerationConfigOption = None,
) -> None:
    """Print the translation of each text, by a model with an encoder."""
    with open_model(
        model=model,
        url=url,
        precision=precision,
        revision=revision,
        threads=threads,
        generation_config=generation_config,
    ) as opened:
        translated = opened.translate_all(given_texts(texts), params, source=source, target=target)
    for text in translated:
        typer.echo(text)


@sampling_options()
def summarize(
    texts: Texts = None,
    *,
    model: ModelOption = None,
    url: Url = None,
    precision: PrecisionOption = None,
    revision: Revision = None,
    threads: Threads = None,
    params: SamplingParams,
    generation_config: GenerationConfigOption = None,
) -> None:
    """Print the summary of each text, by a model with an encoder."""
    with open_model(
        model=model,
        url=url,
        precision=precision,
        revision=revision,
        threads=threads,
        generation_config=generation_config,
    ) as opened:
        summarized = opened.summarize_all(given_texts(texts), params)
    for text in summarized:
        typer.echo(text)
