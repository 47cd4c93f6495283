"""Texts, alone or in pairs, as the token ids of a network that sees each of them once and whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmasos.errors import InvalidRequestError
from llmasos.text.rust_panics import panics_as
from llmasos.text.tokenizer import Tokenizer

Text = str | tuple[str, str]
"""A text, or a text and its pair, such as a query and a document."""
_BYTES_OF_A_TOKEN = 64
_SHORT = 1 << 16
"""Bytes of a text that need not be looked at before it is tokenized."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeText:
    """token_ids, type_ids: with the tokenizer's special tokens; 0 is the text, 1 its pair.
    offsets: begin and end of each token's text in characters; both 0 for special tokens. word_ids:
    the number of the word that a token is a part of; None for special tokens.
    """

    token_ids: list[int]
    type_ids: list[int]
    offsets: list[tuple[int, int]]
    word_ids: list[int | None]


def check_text(text: object, name: str) -> str:
    """Returns the text. Raises InvalidRequestError for what is no string."""
    if not isinstance(text, str):
        raise InvalidRequestError(f"{name} must be a string, got {type(text).__name__}")
    return text


class TextEncoder:
    """Encodes texts of at most max_tokens tokens; its methods are thread-safe."""

    def __init__(self, tokenizer: Tokenizer, *, max_tokens: int, lowercases: bool = False) -> None:
        """lowercases: texts are made lower case before anything else."""
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._lowercases = lowercases
        self._whole = tokenizer.copied_backend()
        self._cut = tokenizer.copied_backend()
        self._cut.enable_truncation(max_tokens, strategy="longest_first")

    def encode(
        self, texts: Sequence[Text], *, truncate: bool, name: str = "text", prompt: str = ""
    ) -> list[WholeText]:
        """Returns each text's tokens.

        prompt: is put before each text that is alone. truncate: cut what is too long, the longer
        one of a pair first; else it is refused.
        Raises InvalidRequestError, which gives the number of the text, its length and the limit.
        """
        checked = [self._checked(text, f"{name} {i}", prompt) for i, text in enumerate(texts)]
        backend = self._cut if truncate else self._whole
        with panics_as(InvalidRequestError, "this model's tokenizer fails on the text"):
            found = backend.encode_batch(checked)
        for number, encoding in enumerate(found):
            if len(encoding.ids) > self._max_tokens:
                raise InvalidRequestError(
                    f"{name} {number} has {len(encoding.ids)} tokens, at most {self._max_tokens} "
                    "fit",
                    hint="let truncate cut it",
                )
        return [
            WholeText(
                token_ids=encoding.ids,
                type_ids=encoding.type_ids,
                offsets=encoding.offsets,
                word_ids=encoding.word_ids,
            )
            for encoding in found
        ]

    def _checked(self, text: Text, name: str, prompt: str) -> Text:
        parts: tuple[object, ...] = text if isinstance(text, tuple) else (text,)
        if len(parts) > 2:
            raise InvalidRequestError(f"{name} must be a string or a pair of two, got {len(parts)}")
        for part in [check_text(part, name) for part in parts]:
            try:
                size = len(part.encode())
            except UnicodeEncodeError as error:
                raise InvalidRequestError(
                    f"{name} is not valid Unicode: a lone surrogate at character {error.start}"
                ) from error
            most = max(_SHORT, self._max_tokens * max(_BYTES_OF_A_TOKEN, self._longest))
            if size > most:
                raise InvalidRequestError(f"{name} has {size} bytes, at most {most} are read")
        if isinstance(text, str):
            text = prompt + text
            return text.lower() if self._lowercases else text
        return (text[0].lower(), text[1].lower()) if self._lowercases else text

    @property
    def _longest(self) -> int:
        return self._tokenizer.token_sizes.longest
