"""`llmasos chat`: a conversation on a terminal, or one question from stdin."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from llmasos.arguments import Message
from llmasos.cli.model import open_model
from llmasos.cli.options import (
    GenerationConfigOption,
    MaxTokens,
    ModelOption,
    PrecisionOption,
    Revision,
    Seed,
    Temperature,
    Threads,
    TopP,
    Url,
    left_to_model,
)
from llmasos.sampling import SamplingParams

if TYPE_CHECKING:
    from llmasos.llm import LLM
    from llmasos.triton_client import TritonClient


def chat(
    *,
    model: ModelOption = None,
    url: Url = None,
    precision: PrecisionOption = None,
    revision: Revision = None,
    threads: Threads = None,
    system: Annotated[
        str | None, typer.Option(help="System message that leads the conversation.")
    ] = None,
    max_tokens: MaxTokens = 512,
    temperature: Temperature = None,
    top_p: TopP = None,
    seed: Seed = None,
    generation_config: GenerationConfigOption = None,
) -> None:
    """Talk with a model: line by line on a terminal, else one question from stdin."""
    params = left_to_model(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    messages = [] if system is None else [{"role": "system", "content": system}]
    question = None if sys.stdin.isatty() else sys.stdin.read().strip()
    if question == "":
        typer.echo("nothing was asked: stdin is empty", err=True)
        return
    with open_model(
        model=model,
        url=url,
        precision=precision,
        revision=revision,
        threads=threads,
        generation_config=generation_config,
    ) as opened:
        if question is None:
            _converse(opened, messages, params)
        else:
            _answer(opened, messages, params, question=question)


def _converse(model: LLM | TritonClient, messages: list[Message], params: SamplingParams) -> None:
    typer.echo("Ctrl-C stops an answer; an empty line or Ctrl-D ends the conversation.", err=True)
    while question := _ask():
        _answer(model, messages, params, question=question)


def _ask() -> str:
    try:
        return input("> ").strip()
    except EOFError:
        typer.echo()
        return ""


def _answer(
    model: LLM | TritonClient,
    messages: list[Message],
    params: SamplingParams,
    *,
    question: str,
) -> None:
    """Print the answer as it comes and add both turns to the conversation."""
    messages.append({"role": "user", "content": question})
    answer = ""
    with model.stream_chat(messages, params) as stream:
        try:
            for piece in stream:
                answer += piece.text
                typer.echo(piece.text, nl=False)
                sys.stdout.flush()
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
    typer.echo()
    messages.append({"role": "assistant", "content": answer})
