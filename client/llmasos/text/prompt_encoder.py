"""Encodes prompts and refuses those that are too long before they are tokenized.

Tokenizing a megabyte of text takes one or two seconds and a hundred megabytes of memory. So a
text that cannot fit into max_seq_len is refused by its size, and a text that is very likely too
long is refused by the token count of its first part.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from llmasos.errors import InvalidRequestError
from llmasos.text.source_texts import EncodedPrompt, SourceTexts
from llmasos.text.text_task import PLAIN, TextTask

if TYPE_CHECKING:
    from llmasos.text.chat_options import ChatOptions
    from llmasos.text.token_sizes import TokenSizes
    from llmasos.text.tokenizer import Tokenizer

LOST_BYTES = 4 << 20
"""The most bytes of one prompt that may be dropped by the tokenizer."""
_UNICODE_SHRINKS = 8
"""A Unicode normal form shortens a text by less than this factor."""
_JSON_GROWS = 3
"""JSON bytes for each byte of text: an é may be written with six characters."""
_JSON_BESIDE_TEXT = 64 << 10
_JSON_BYTES_OF_A_TOKEN = 64
_MOST_JSON = 16 << 20
"""JSON is parsed at once with the GIL held; larger JSON must be likely to fit."""
_BEGINNING = 16
"""Characters encoded for each token that fits: ordinary text has several times fewer."""
_CLEARLY_TOO_MANY = 2
_CHUNK = 1 << 16


class PromptEncoder:
    """Encodes the prompts that an engine can take; its methods are thread-safe."""

    def __init__(
        self, tokenizer: Tokenizer, *, max_seq_len: int, sources: SourceTexts | None = None
    ) -> None:
        """max_seq_len: the engine's limit; a prompt has at least one token less. sources: encodes
        the texts of an encoder-decoder.
        """
        self._sources = sources
        self._tokenizer = tokenizer
        self._max_seq_len = max_seq_len
        self._max_tokens = max_seq_len - 1

    @cached_property
    def max_bytes(self) -> int:
        """The most bytes, as `_measure` counts them, that a text of _max_tokens can have."""
        lost = 0 if self._sizes.loses_nothing else LOST_BYTES
        return self._max_tokens * self._sizes.longest + lost

    @cached_property
    def max_raw_bytes(self) -> int:
        """The same bound for the raw text, before any normalization."""
        shrinks = 1 if self._sizes.unicode_form is None else _UNICODE_SHRINKS
        return self.max_bytes * shrinks + (LOST_BYTES if self._sizes.unknown else 0)

    @property
    def max_json_bytes(self) -> int:
        """The same bound for a conversation as JSON."""
        possible = _JSON_GROWS * self.max_bytes + _JSON_BESIDE_TEXT
        return min(possible, max(_MOST_JSON, _JSON_BYTES_OF_A_TOKEN * self._max_tokens))

    def encode(
        self, text: str, *, name: str = "the prompt", add_special_tokens: bool = True
    ) -> list[int]:
        """Returns the token ids of a prompt; raises InvalidRequestError for one that cannot fit."""
        self.check(text, name)
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)

    def encode_prompt(
        self,
        text: str,
        asked: TextTask = PLAIN,
        *,
        name: str = "the prompt",
        add_special_tokens: bool = True,
    ) -> EncodedPrompt:
        """Does what `encode` does, and what else is asked of the text; raises InvalidRequestError
        where the model has no encoder, and something is.
        """
        if self._sources is None:
            if asked:
                raise InvalidRequestError(
                    "the model continues texts; task, source_language, target_language and "
                    "decoder_text_input are for models with an encoder"
                )
            return EncodedPrompt(
                self.encode(text, name=name, add_special_tokens=add_special_tokens)
            )
        text = self._sources.prefixed(text, asked)
        self.check(text, name)
        self.check(asked.decoder_text, "decoder_text_input")
        return self._sources.encode(text, asked, add_special_tokens=add_special_tokens)

    def encode_chat(
        self, messages: Sequence[Mapping[str, Any]], options: ChatOptions | None = None
    ) -> list[int]:
        """Returns the token ids of a conversation; its template writes the special tokens
        itself.
        """
        text = self._tokenizer.render_chat(messages, options)
        self.check(text, "the conversation")
        return self._tokenizer.encode(text, add_special_tokens=False)

    def check_bytes(self, num_bytes: int, name: str) -> None:
        """Raises InvalidRequestError for a text that its number of bytes alone shows to be too
        long.
        """
        if num_bytes > self.max_raw_bytes:
            raise self._too_long(name, num_bytes, self.max_bytes)

    def check_json_bytes(self, num_bytes: int, name: str) -> None:
        """Does the same for a conversation in JSON."""
        if num_bytes > self.max_json_bytes:
            raise self._too_long(name, num_bytes, self.max_json_bytes)

    def check(self, text: str, name: str) -> None:
        """Raises InvalidRequestError for a text that cannot fit, without tokenizing all of it."""
        if len(text) <= self._max_tokens:
            return  # so few characters need not be counted in bytes
        num_bytes = len(text.encode(errors="replace"))
        self.check_bytes(num_bytes, name)
        if num_bytes > self.max_bytes and self._measure(text) > self.max_bytes:
            raise self._too_long(name, num_bytes, self.max_bytes)
        self._check_beginning(text, name, num_bytes)

    def _measure(self, text: str) -> int:
        """Counts bytes in the tokenizer's Unicode form, without unknown ones, until there are too
        many.
        """
        form, unknown = cast("Any", self._sizes.unicode_form), self._sizes.unknown
        size = 0
        for begin in range(0, len(text), _CHUNK):
            chunk = text[begin : begin + _CHUNK]
            whole = chunk if form is None else unicodedata.normalize(form, chunk)
            size += len(whole.encode(errors="replace").translate(None, unknown))
            if size > self.max_bytes:
                break
        return size

    def _check_beginning(self, text: str, name: str, num_bytes: int) -> None:
        """Refuses a long text by its first part, if the rest cannot take tokens away."""
        length = _BEGINNING * self._max_tokens
        if self._sizes.loses_nothing and len(text) > 2 * length:
            count = len(self._tokenizer.encode(text[:length], add_special_tokens=False))
            if count > _CLEARLY_TOO_MANY * self._max_tokens:
                raise InvalidRequestError(
                    f"{name} has {num_bytes} bytes, of which the first {length} characters are "
                    f"{count} tokens already, at most {self._max_tokens} fit: max_seq_len is "
                    f"{self._max_seq_len}, and one is left for the answer"
                )

    def _too_long(self, name: str, num_bytes: int, most: int) -> InvalidRequestError:
        return InvalidRequestError(
            f"{name} has {num_bytes} bytes, at most {most} can fit: max_seq_len is "
            f"{self._max_seq_len}, and the longest token has {self._sizes.longest} bytes"
        )

    @property
    def _sizes(self) -> TokenSizes:
        return self._tokenizer.token_sizes
