"""How the harness renders conversations, and what it leaves of a reasoning model's answer."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmasos.errors import InvalidRequestError
from llmasos.text.chat_options import ChatFields, ChatOptions
from llmasos.text.tokenizer import Tokenizer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessChat:
    """options: of every conversation. think_end_token: the text that ends a model's thoughts."""

    options: ChatOptions = field(default_factory=ChatOptions)
    thinks: bool = False
    think_end_token: str | None = None

    @classmethod
    def of(
        cls,
        chat_template_args: Mapping[str, Any] | str | None,
        *,
        enable_thinking: bool | None,
        think_end_token: str | None,
    ) -> HarnessChat:
        """From the harness' own arguments of a model; raises InvalidRequestError."""
        if isinstance(chat_template_args, str):
            chat_template_args = _parsed(chat_template_args)
        given = dict(chat_template_args or {})
        if enable_thinking is not None:
            given["enable_thinking"] = enable_thinking
        if enable_thinking and not think_end_token:
            raise InvalidRequestError(
                "enable_thinking needs think_end_token, such as think_end_token=</think>"
            )
        named = {name: given.pop(name) for name in ChatFields.__optional_keys__ if name in given}
        variables = {**(named.pop("chat_template_kwargs", None) or {}), **given}
        options = ChatOptions(chat_template_kwargs=variables or None, **named)
        return cls(options=options, thinks=bool(enable_thinking), think_end_token=think_end_token)

    @property
    def fingerprint(self) -> str:
        """Tells conversations apart that were rendered with other options; "" without any."""
        given = self.options.given()
        if not given:
            return ""
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]

    def render(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool,
    ) -> str:
        """The text of a conversation, which goes on from its last message if none is opened.

        Without its system messages, and a warning, where the template refuses those.
        """
        options = replace(
            self.options,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        try:
            return tokenizer.render_chat(messages, options)
        except InvalidRequestError as error:
            others = [message for message in messages if message.get("role") != "system"]
            if len(others) in (0, len(messages)):
                raise
            _log.warning("%s; the system message is left out", error)
            return tokenizer.render_chat(others, options)

    def answer(self, text: str) -> str:
        """What follows the thoughts."""
        if self.think_end_token is None:
            return text
        return text.rpartition(self.think_end_token)[2].lstrip()


def _parsed(text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"chat_template_args is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise InvalidRequestError(
            f"chat_template_args must be a JSON object, got {type(parsed).__name__}"
        )
    return parsed
