"""Renders a conversation whose last message stays open, so that the answer continues it.

As with Hugging Face's continue_final_message, the text that the template writes behind the last
message is cut off. A mark in that message shows where.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from llmasos.errors import InvalidRequestError
from llmasos.text.chat_messages import Message


def render_to_continue(
    messages: Sequence[Message], render: Callable[[Sequence[Message]], str]
) -> str:
    """Returns the text up to the end of the last message's content.

    Raises InvalidRequestError if that message has no text or the template changes it.
    """
    last = f"messages[{len(messages) - 1}]"
    word = f"q{secrets.token_hex(8)}"
    text, marked = _marked(messages[-1], f"{word} ", last)
    rendered = render([*messages[:-1], marked])
    end = rendered.rfind(word)
    if end < 0 or text.strip() not in rendered:
        raise InvalidRequestError(
            f"continue_final_message cannot continue {last}: the model's chat template changes it"
        )
    if rendered.startswith(f"{word} ", end):
        return rendered[:end]
    return rendered[:end].rstrip()  # the template trims the message, which the mark prevented


def _marked(message: Message, mark: str, where: str) -> tuple[str, Message]:
    """The text to continue, and the message with a mark behind it."""
    content = message.get("content")
    if isinstance(content, str):
        return content, {**message, "content": content + mark}
    if not content:
        raise InvalidRequestError(f"continue_final_message is set, and {where} has no content")
    text = content[-1]["text"]
    return text, {**message, "content": [*content[:-1], {**content[-1], "text": text + mark}]}
