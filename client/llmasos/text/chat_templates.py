"""The chat templates of one model, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmasos.errors import InvalidRequestError
from llmasos.text.chat import ChatTemplate
from llmasos.text.chat_options import ChatOptions

_DEFAULT, _FOR_TOOLS = "default", "tool_use"


class ChatTemplates:
    """The templates, each compiled at its first use. tokens: their variables, such as bos_token."""

    def __init__(self, sources: Mapping[str, str], *, tokens: Mapping[str, str]) -> None:
        self.sources = sources
        self._tokens = tokens
        self._compiled: dict[str, ChatTemplate] = {}

    def of(self, options: ChatOptions) -> ChatTemplate:
        """Returns the template that Hugging Face would use for these options.

        Raises InvalidRequestError if there is no template, none of that name, or it is not valid.
        """
        name = self._name(options)
        if name not in self._compiled:
            self._compiled[name] = ChatTemplate(self.sources[name], tokens=self._tokens)
        return self._compiled[name]

    def _name(self, options: ChatOptions) -> str:
        if not self.sources:
            raise InvalidRequestError("this model has no chat template", hint="send plain text")
        names = ", ".join(sorted(self.sources))
        if options.chat_template is not None:
            if options.chat_template not in self.sources:
                raise InvalidRequestError(
                    f"chat_template must name a template of this model, {names}, "
                    f"got {options.chat_template!r:.60}"
                )
            return options.chat_template
        if options.tools is not None and _FOR_TOOLS in self.sources:
            return _FOR_TOOLS
        if _DEFAULT not in self.sources:
            raise InvalidRequestError(
                f"this model has no default chat template; name one as chat_template: {names}"
            )
        return _DEFAULT


def templates_of_config(config: Mapping[str, Any]) -> dict[str, str]:
    """Returns the templates in tokenizer_config.json, where they are one string or a named list."""
    found = config.get("chat_template")
    if isinstance(found, str):
        return {_DEFAULT: found}
    named = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    return {
        entry["name"]: entry["template"]
        for entry in named
        if isinstance(entry.get("name"), str) and isinstance(entry.get("template"), str)
    }
