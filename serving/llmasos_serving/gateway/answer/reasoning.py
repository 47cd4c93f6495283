"""Keeps what a model thinks, between <think> and </think>, apart from its answer.

The form is that of DeepSeek-R1 and Qwen3. A chat template may print <think> itself; then a text
begins inside it.
"""

from __future__ import annotations

from typing import NamedTuple

from llmasos_serving.gateway.answer.held_text import split_at

_BEGIN, _END = "<think>", "</think>"


class Thought(NamedTuple):
    """New text of both kinds; either may be empty."""

    reasoning: str = ""
    content: str = ""


class ReasoningSplitter:
    """Takes the text of one answer piece by piece; the pieces' borders change nothing.

    begins_inside: True if the chat template opened the reasoning.
    """

    def __init__(self, *, begins_inside: bool = False) -> None:
        self._held = ""
        self._is_open = begins_inside
        self._is_decided = begins_inside
        self._is_over = False

    def push(self, text: str) -> Thought:
        if self._is_over:
            return Thought(content=self._content(text))
        self._held += text
        if not self._is_decided and not self._decide():
            return Thought()
        if not self._is_open:
            return self._end(Thought())
        reasoning, self._held, found = split_at(self._held, _END)
        return self._end(Thought(reasoning)) if found else Thought(reasoning)

    def finish(self) -> Thought:
        """Returns what was held back; an unfinished thought stays reasoning."""
        held, self._held = self._held, ""
        if self._is_over or not self._is_open:
            return Thought(content=held)
        return Thought(reasoning=held)

    def _decide(self) -> bool:
        """Whether it is known if the text begins with a thought."""
        begun = self._held.lstrip()
        if begun.startswith(_BEGIN):
            self._is_open, self._held = True, begun[len(_BEGIN) :]
        elif _BEGIN.startswith(begun):
            return False
        self._is_decided = True
        return True

    def _end(self, before: Thought) -> Thought:
        """The rest of the text is the answer."""
        self._is_over = True
        held, self._held = self._held, ""
        return before._replace(content=self._content(held))

    def _content(self, text: str) -> str:
        """The answer without the empty lines between it and the thought."""
        if self._is_open:
            text = text.lstrip("\n")
            self._is_open = not text
        return text
