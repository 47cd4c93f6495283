"""Incremental detokenization: the text of a growing sequence that no later token can change.

Decoding more tokens mostly appends text, but not always: the bytes of one character may come in
several tokens; a decoder with byte fallback, as in Llama 2, decodes a whole run of byte tokens at
once and makes U+FFFD of all of them if one is wrong; cleaning up removes spaces when the
punctuation after them comes. A tokenizer's behaviour is found by trying it.

Only a few tokens are decoded again with each new one. That needs an anchor: a token (or several)
whose own text is complete, so that decoding from there on continues the text as if all tokens
had been decoded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

REPLACEMENT = "\ufffd"
# A longer run of byte tokens is decoded once, when it has ended.
MAX_RUN = 64
# From this many tokens without an anchor, one is looked for at half of it.
MAX_WINDOW = 128
# A later token changes at most this many characters: those of a UTF-8 sequence, or what all
# of Hugging Face's clean-ups, one after the other, look ahead.
_REACH = 4
_MIN_COMPARED = 8
_CLEAN_UP_REACH = 19
_CLEANED_UP = set(" .?!,'#" + REPLACEMENT)
_CLEANED_UP_AFTER_APOSTROPHE = set("ntmsver")
# Characters that no vocabulary has, so that byte fallback spells them.
_RARE = ("\U000f0000", "\U00013000", "\ua66e")


class TextCodec(Protocol):
    """The methods of a tokenizer that are needed."""

    @property
    def special_ids(self) -> Collection[int]: ...
    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...


class Detokenizer:
    """The decoding behaviour of one tokenizer; sequences share it and its cache of single tokens.

    cleans_up: spaces before punctuation may be removed.
    has_runs: a run of byte tokens is decoded together, and one wrong byte spoils it.
    """

    def __init__(self, tokenizer: TextCodec) -> None:
        self.decode = tokenizer.decode
        punctuated = tokenizer.encode("a . a ? a ! a , a", add_special_tokens=False)
        text = tokenizer.decode(punctuated)
        self.cleans_up = not any(mark in text for mark in (" .", " ?", " !", " ,"))
        self.reach = _CLEAN_UP_REACH if self.cleans_up else _REACH
        spelled = _spelled(tokenizer)
        self.has_runs = bool(spelled)
        self._known_ids = spelled or tokenizer.encode("a a", add_special_tokens=False)
        self._alone: dict[int, str] = {}
        self._is_byte: dict[int, bool] = {}
        self._is_silent = dict.fromkeys(tokenizer.special_ids, True)

    def alone(self, token_id: int) -> str:
        """The text of this token alone."""
        if token_id not in self._alone:
            self._alone[token_id] = self.decode((token_id,))
        return self._alone[token_id]

    def is_byte(self, token_id: int) -> bool:
        """True if it joins a run of byte tokens that is decoded together."""
        if not self.has_runs:
            return False
        if token_id not in self._is_byte:
            run = self.decode((self._known_ids[0], token_id))
            self._is_byte[token_id] = run == 2 * REPLACEMENT
        return self._is_byte[token_id]

    def is_silent(self, token_id: int) -> bool:
        """True if decoding leaves it out: a special token, or one that has no name."""
        if token_id not in self._is_silent:
            first, rest = self._known_ids[:1], self._known_ids[1:]
            self._is_silent[token_id] = not self.alone(token_id) and (
                self.decode((*first, token_id, *rest)) == self.decode(self._known_ids)
            )
        return self._is_silent[token_id]

    def num_in_run(self, token_ids: Sequence[int]) -> int:
        """The number of last tokens in a run of byte tokens that may continue."""
        num_before = len(token_ids)
        while num_before and (self.is_byte(i := token_ids[num_before - 1]) or self.is_silent(i)):
            num_before -= 1
        return len(token_ids) - num_before

    def is_whole(self, text: str) -> bool:
        """True if tokens of this text are an anchor, if they begin where text was settled."""
        if self.cleans_up:
            return _CLEANED_UP.isdisjoint(text) and not _CLEANED_UP_AFTER_APOSTROPHE.issuperset(
                text
            )
        return bool(text) and (self.has_runs or REPLACEMENT not in text)


def _spelled(tokenizer: TextCodec) -> list[int]:
    """The bytes of a rare character, if each becomes U+FFFD while one is missing."""
    for character in _RARE:
        size = len(character.encode())
        ids = tokenizer.encode(character, add_special_tokens=False)[-size:]
        if tokenizer.decode(ids[:-1]) == REPLACEMENT * (size - 1):
            return ids
    return []


@dataclass(frozen=True, slots=True)
class Anchor:
    """decode(token_ids[index:])[own:] is the text of all tokens from character `end` on."""

    index: int
    own: int
    end: int


class SettledText:
    """Tokens, and how many characters of their text are settled.

    token_ids: those that decoding does not leave out.
    loose: the text beyond what is settled, as far as it is known.
    """

    def __init__(self, detokenizer: Detokenizer) -> None:
        self._detokenizer = detokenizer
        self._is_in_run = False
        self._num_settled_ids = 0  # their text was settled when the last of them came
        self.token_ids: list[int] = []
        self.num_characters = 0
        self.loose = ""
        self.anchors = deque([Anchor(0, 0, 0)])

    def extend(self, token_ids: Sequence[int]) -> str:
        """Appends tokens and returns the text that they settle."""
        heard = [i for i in token_ids if not self._detokenizer.is_silent(i)]
        if not heard:
            return ""
        self.token_ids += heard
        self._is_in_run = self._detokenizer.is_byte(heard[-1])
        if self._is_in_run and len(self.token_ids) - self._num_settled_ids > MAX_RUN:
            self.loose = ""
            return ""
        text, begin = self._window()
        end = max(begin, self._settled_end(text))
        self.num_characters += end - begin
        self.loose = text[end:]
        if not self.loose:
            self._settle()
        if len(self.token_ids) - self.anchors[-1].index > MAX_WINDOW:
            self._seek_anchor(text)
        return text[begin:end]

    def end(self, token_ids: Sequence[int]) -> None:
        """Ends the text: only these tokens follow, whose own text is left out; the loose text
        stays.

        Text that they would change is lost.
        """
        text, begin = self._window()
        if token_ids:
            ids = [*self.token_ids[self.anchors[-1].index :], *token_ids]
            text = _common_beginning(text, self._detokenizer.decode(ids))
        self.loose = text[begin:]

    def _window(self) -> tuple[str, int]:
        """The text from the last anchor on, and the number of its settled characters."""
        anchor = self.anchors[-1]
        text = self._detokenizer.decode(self.token_ids[anchor.index :])
        return text, anchor.own + self.num_characters - anchor.end

    def _settled_end(self, text: str) -> int:
        if self._is_in_run:
            return 0
        if self._detokenizer.cleans_up:
            is_settled = self._detokenizer.is_whole(self._detokenizer.alone(self.token_ids[-1]))
            return len(text) if is_settled else len(text) - _CLEAN_UP_REACH
        if self._detokenizer.has_runs:
            return len(text)
        return len(text) - text.endswith(REPLACEMENT)

    def _settle(self) -> None:
        """Settles all text: the last token becomes the next anchor, or those since last time do."""
        alone = self._detokenizer.alone(self.token_ids[-1])
        first, self._num_settled_ids = self._num_settled_ids, len(self.token_ids)
        if self._detokenizer.is_whole(alone):
            self.anchors.append(Anchor(len(self.token_ids) - 1, len(alone), self.num_characters))
        elif 1 < len(self.token_ids) - first <= MAX_WINDOW:
            text = self._detokenizer.decode(self.token_ids[first:])
            if self._detokenizer.is_whole(text):
                self.anchors.append(Anchor(first, len(text), self.num_characters))

    def _seek_anchor(self, text: str) -> None:
        """Looks for an anchor after many tokens without one: any place outside a run that keeps
        the text.
        """
        index = len(self.token_ids) - MAX_WINDOW // 2
        if self._is_in_run or self._detokenizer.is_byte(self.token_ids[index]):
            return
        tail = self._detokenizer.decode(self.token_ids[index:])
        own = len(tail) - len(self.loose)
        reach = self._detokenizer.reach
        if own > reach + _MIN_COMPARED and text.endswith(tail[reach:]):
            self.anchors.append(Anchor(index, own, self.num_characters))


def _common_beginning(one: str, other: str) -> str:
    differences = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return one[: next(differences, min(len(one), len(other)))]
