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
from jinja2.meta import find_undeclared_variables
from jinja2.parser import Parser

from llmasos.errors import InvalidRequestError
from llmasos.text.chat_continuation import render_to_continue
from llmasos.text.chat_forms import form_that_is_read
from llmasos.text.chat_limits import BoundedEnvironment
from llmasos.text.chat_messages import REASONING_FIELDS, Message, check_messages
from llmasos.text.chat_options import ChatOptions

MAX_TEMPLATE_CHARACTERS = 1 << 20


class ChatTemplate:
    """One compiled template. tokens: its variables, such as bos_token, by name.

    Raises InvalidRequestError for a template that is too long or not valid Jinja.
    """

    def __init__(self, source: str, *, tokens: Mapping[str, str]) -> None:
        if len(source) > MAX_TEMPLATE_CHARACTERS:
            raise InvalidRequestError(
                f"the chat template has {len(source)} characters, at most {MAX_TEMPLATE_CHARACTERS}"
            )
        self._source = source
        self._tokens = dict(tokens)
        self._environment = BoundedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        try:
            self._template = self._environment.from_source(
                source, {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
            )
            self._reads = find_undeclared_variables(self._environment.parse(source))
        except (jinja2.TemplateError, RecursionError, SyntaxError) as error:
            raise InvalidRequestError(f"the chat template is not valid: {error}") from error

    def render(
        self, messages: Sequence[Mapping[str, Any]], options: ChatOptions | None = None
    ) -> str:
        """Returns the conversation's text, with the generation prompt unless options say no.

        messages: {"role": text, "content": text or [{"type": "text", "text": text}]} and any other
        fields that the template reads; see `chat_messages`.
        Raises InvalidRequestError for malformed messages, for messages that the template refuses,
        and for content that it does not print.
        """
        options = options or ChatOptions()
        self._refuse_unread(options)

        def render(messages: Sequence[Message]) -> str:
            return self._render(messages, options)

        checked = [_with_reasoning_names(message) for message in check_messages(messages)]
        self._refuse_unread_calls(checked)
        with self._environment.budget():
            fitting = form_that_is_read(checked, render)
            if options.continue_final_message:
                return render_to_continue(fitting, render)
            return render(fitting)

    def _render(self, messages: Sequence[Message], options: ChatOptions) -> str:
        variables = {
            **self._tokens,
            **(options.chat_template_kwargs or {}),
            "messages": messages,
            "add_generation_prompt": options.opens_answer,
            "tools": options.tools,  # templates ask for these two, also with `is not none`
            "documents": options.documents,
        }
        try:
            return self._template.render(variables)
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

    def _refuse_unread(self, options: ChatOptions) -> None:
        """Refuses tools or documents that the template ignores: the model would not see them."""
        for name, value in (("tools", options.tools), ("documents", options.documents)):
            if value and name not in self._reads:
                raise InvalidRequestError(
                    f"{name} cannot be given: the model's chat template does not read {name}"
                )

    def _refuse_unread_calls(self, messages: Sequence[Message]) -> None:
        for index, message in enumerate(messages):
            if message.get("tool_calls") and "tool_calls" not in self._source:
                raise InvalidRequestError(
                    f"messages[{index}].tool_calls cannot be given: the model's chat template "
                    "does not read tool_calls"
                )


def _with_reasoning_names(message: Message) -> Message:
    """Copies a message's reasoning to every field name that templates read."""
    reasoning = next((message[name] for name in REASONING_FIELDS if name in message), None)
    if reasoning is None:
        return message
    return {"thinking": reasoning, **message, REASONING_FIELDS[0]: reasoning}


class _Generation(Extension):
    """Makes `{% generation %}`, which marks the model's own words for training, transparent."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 reads a class attribute

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    # Local time, as Hugging Face's has it.
    return datetime.now().strftime(pattern)
