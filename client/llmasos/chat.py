"""A conversation as the text that a model was trained on, through its chat template.

Templates come with checkpoints, so they are not trusted: they run in Jinja's immutable
sandbox, see nothing but plain data, and have a budget (`chat_limits`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser

from llmasos.chat_limits import BoundedEnvironment
from llmasos.errors import InvalidRequestError

MAX_TEMPLATE_CHARACTERS = 1 << 20


class ChatTemplate:
    """One compiled template. tokens: its variables, such as bos_token, by name.

    Raises InvalidRequestError for a template that is too long or is not Jinja.
    """

    def __init__(self, source: str, *, tokens: Mapping[str, str]) -> None:
        if len(source) > MAX_TEMPLATE_CHARACTERS:
            raise InvalidRequestError(
                f"the chat template has {len(source)} characters, at most {MAX_TEMPLATE_CHARACTERS}"
            )
        self._tokens = dict(tokens)
        self._environment = BoundedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        try:
            self._template = self._environment.from_source(
                source, {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
            )
        except (jinja2.TemplateError, RecursionError, SyntaxError) as error:
            raise InvalidRequestError(f"the chat template is not valid: {error}") from error

    def render(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True
    ) -> str:
        """The conversation's text, with the opening of the answer if asked for.

        messages: {"role": text, "content": text or [{"type": "text", "text": text}]}.
        Raises InvalidRequestError: malformed messages, or what the template refuses.
        """
        checked = check_messages(messages)
        with self._environment.budget():
            try:
                return self._template.render(
                    messages=checked,
                    add_generation_prompt=add_generation_prompt,
                    tools=None,  # templates ask for these two, also with `is not none`
                    documents=None,
                    **self._tokens,
                )
            except (
                jinja2.TemplateError,
                ArithmeticError,
                AttributeError,
                LookupError,
                RecursionError,
                TypeError,
                ValueError,
            ) as error:
                raise InvalidRequestError(f"the chat template refused: {error}") from error


def check_messages(messages: Any) -> list[dict[str, str]]:
    """The messages with their content as text; raises InvalidRequestError naming the message."""
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise InvalidRequestError(f"messages must be a list, got {type(messages).__name__}")
    if not messages:
        raise InvalidRequestError("messages must hold at least one message, got none")
    return [_check_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _check_message(message: Any, where: str) -> dict[str, str]:
    if not isinstance(message, Mapping):
        raise InvalidRequestError(f"{where} must be an object, got {type(message).__name__}")
    for name in message:
        if name not in {"role", "content"}:
            raise InvalidRequestError(f"{where} has the field {name!r}; role and content are known")
    for name in ("role", "content"):
        if name not in message:
            raise InvalidRequestError(f"{where} has no {name}")
    role = message["role"]
    if not isinstance(role, str) or not role:
        raise InvalidRequestError(f"{where}.role must be a non-empty string, got {role!r}")
    return {"role": str(role), "content": _text(message["content"], f"{where}.content")}


def _text(content: Any, where: str) -> str:
    """Content as one string; parts are joined by line breaks."""
    if isinstance(content, str):
        return str(content)
    if not isinstance(content, Sequence):
        raise InvalidRequestError(
            f"{where} must be a string or a list of text parts, got {type(content).__name__}"
        )
    return "\n".join(_part(part, f"{where}[{i}]") for i, part in enumerate(content))


def _part(part: Any, where: str) -> str:
    if not isinstance(part, Mapping) or part.get("type") != "text":
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        raise InvalidRequestError(f"{where} must be a text part, got {kind!r}")
    text = part.get("text")
    if not isinstance(text, str):
        raise InvalidRequestError(f"{where}.text must be a string, got {type(text).__name__}")
    return text


class _Generation(Extension):
    """`{% generation %}` marks the model's own words for training; here it is transparent."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 reads a class attribute

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    # Local time, as Hugging Face's has it.
    return datetime.now().strftime(pattern)
