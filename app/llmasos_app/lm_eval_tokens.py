"""How the harness turns texts into tokens: as its own model of transformers does it (HFLM).

A text that begins with the token that would begin it, such as a rendered chat, gets no second
one. Scores of two models of the harness compare only if their tokens are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmasos.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessTokens:
    """add_bos_token: whether each text begins with the BOS token; None leaves that to the model.

    prefix: stands before a text without context, in the place of the model's own. end: ends a
    text where tokenizer_config.json names none.
    """

    tokenizer: Tokenizer
    add_bos_token: bool | None
    prefix: int | None
    end: int

    @property
    def eot_id(self) -> int:
        """The end of a text."""
        named = self.tokenizer.named_token_id("eos_token")
        return self.end if named is None else named

    @property
    def prefix_id(self) -> int:
        """What stands before a text that has no context."""
        if self.prefix is not None:
            return self.prefix
        begin = self.tokenizer.named_token_id("bos_token")
        return self.eot_id if begin is None else begin

    def encode(self, text: str, *, add_special_tokens: bool | None = None) -> list[int]:
        """Token ids; None adds special tokens unless the text begins with its prefix."""
        if add_special_tokens is None:
            add_special_tokens = not self._begins_with(text, self.prefix_id)
        return self._encode(text, add_special_tokens=add_special_tokens)

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of a text that is to be continued."""
        begin = self.tokenizer.named_token_id("bos_token")
        begun = begin is not None and self._begins_with(text, begin)
        return self._encode(text, add_special_tokens=not begun)

    def as_text(self, text: str, token_ids: list[int]) -> tuple[str, bool]:
        """What a server makes these ids of: a text, and whether it adds special tokens to it.

        text: of the whole prompt. Where the ids are only its end, a first word that was cut may
        become other tokens.
        """
        for adds in (True, False):
            if self.tokenizer.encode(text, add_special_tokens=adds) == token_ids:
                return text, adds
        return self.tokenizer.decode(token_ids, skip_special_tokens=False), False

    def text_of(self, token: str | int | None) -> str | None:
        """The text of a token that is given by its text or by its id."""
        if isinstance(token, int) or (token is not None and token.isdigit()):
            return self.tokenizer.decode([int(token)], skip_special_tokens=False)
        return token

    def _begins_with(self, text: str, token: int) -> bool:
        return text.startswith(self.tokenizer.decode([token], skip_special_tokens=False))

    def _encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        wanted = add_special_tokens and self.add_bos_token is not False
        ids = self.tokenizer.encode(text, add_special_tokens=wanted)
        begin = self.tokenizer.named_token_id("bos_token")
        if wanted and self.add_bos_token and begin is not None and not self._adds(begin):
            return [begin, *ids]
        return ids

    def _adds(self, token: int) -> bool:
        """Whether the tokenizer begins texts with it by itself."""
        return self.tokenizer.encode("")[:1] == [token]
