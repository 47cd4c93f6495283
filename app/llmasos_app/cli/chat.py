"""`llmasos chat`: a conversation on a terminal, or one question from stdin."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from llmasos.errors import InvalidRequestError
from llmasos.sampling import SamplingParams
from llmasos.text.chat_messages import Message
from llmasos.text.chat_options import ChatFields, ChatOptions

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

if TYPE_CHECKING:
    from llmasos.generation.language_model import LanguageModel


@sampling_options(is_chat=True, max_tokens=512)
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
    params: SamplingParams,
    generation_config: GenerationConfigOption = None,
    tools: Annotated[
        Path | None,
        typer.Option(help="JSON file: a list of the tools that the model may call."),
    ] = None,
    documents: Annotated[
        Path | None,
        typer.Option(help="JSON file: a list of documents, each with a title and a text."),
    ] = None,
    chat_template_kwargs: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="Variables of the chat template, such as '{\"enable_thinking\": false}'.",
        ),
    ] = None,
    chat_template: Annotated[
        str | None, typer.Option(metavar="NAME", help="One of the model's own chat templates.")
    ] = None,
) -> None:
    """Talk with a model: line by line on a terminal, else one question from stdin."""
    options: ChatFields = {
        "tools": None if tools is None else _json_file("tools", tools),
        "documents": None if documents is None else _json_file("documents", documents),
        "chat_template_kwargs": _json("chat-template-kwargs", chat_template_kwargs or "null"),
        "chat_template": chat_template,
    }
    ChatOptions(**options)  # refuses them before the model is loaded
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
            _converse(opened, messages, params, options)
        else:
            _answer(opened, messages, params, options, question=question)


def _json_file(name: str, path: Path) -> Any:
    try:
        return _json(f"{name} {path}", path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRequestError(f"{name} {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{name} {path} is not UTF-8 (byte {error.start})") from error


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{name} is not JSON: {error}") from error


def _converse(
    model: LanguageModel,
    messages: list[Message],
    params: SamplingParams,
    options: ChatFields,
) -> None:
    typer.echo("Ctrl-C stops an answer; an empty line or Ctrl-D ends the conversation.", err=True)
    while question := _ask():
        _answer(model, messages, params, options, question=question)


def _ask() -> str:
    try:
        return input("> ").strip()
    except EOFError:
        typer.echo()
        return ""


def _answer(
    model: LanguageModel,
    messages: list[Message],
    params: SamplingParams,
    options: ChatFields,
    *,
    question: str,
) -> None:
    """Print the answer as it comes and add both turns to the conversation."""
    messages.append({"role": "user", "content": question})
    answer = ""
    with model.stream_chat(messages, params, **options) as stream:
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
