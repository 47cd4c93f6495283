"""The prompts of translation and summarization."""

from __future__ import annotations

from collections.abc import Iterable

from llmasos.arguments import check_text
from llmasos.errors import InvalidRequestError
from llmasos.generation.transport import TextPrompt
from llmasos.text.text_task import SUMMARIZE, TRANSLATE, TextTask


def translations(
    texts: Iterable[str], *, source: str | None, target: str | None
) -> list[TextPrompt]:
    """Returns the prompts that ask for translations; raises InvalidRequestError."""
    for name, language in (("source", source), ("target", target)):
        if language is not None and not check_text(name, language):
            raise InvalidRequestError(f"{name} must be a language, got an empty text")
    asked = TextTask(name=TRANSLATE, source_language=source or "", target_language=target or "")
    return [TextPrompt(text=text, asked=asked) for text in texts]


def summaries(texts: Iterable[str]) -> list[TextPrompt]:
    """Returns the prompts that ask for summaries."""
    return [TextPrompt(text=text, asked=TextTask(name=SUMMARIZE)) for text in texts]
