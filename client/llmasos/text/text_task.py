"""What is asked of a text beside its words, where a network has an encoder."""

from __future__ import annotations

from dataclasses import dataclass

TRANSLATE, SUMMARIZE = "translate", "summarize"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTask:
    """The task, and how the answer begins; empty fields ask for nothing.

    name: translate, summarize, or a task in task_specific_params of the model's config.json.
    source_language, target_language: codes or names, such as en, eng_Latn or English.
    decoder_text: the text that the answer begins with.
    """

    name: str = ""
    source_language: str = ""
    target_language: str = ""
    decoder_text: str = ""

    def __bool__(self) -> bool:
        return any((self.name, self.source_language, self.target_language, self.decoder_text))


PLAIN = TextTask()
"""A text of which nothing else is asked."""
