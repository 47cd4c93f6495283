"""The text of one sequence as it grows: whole characters, up to the first stop string.

Every token is sent at once; its text waits while it is not settled or could begin a stop string.
Each piece says how to make its text from token ids, so that the decoder keeps no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmasos_runtime.text.detokenizer import REPLACEMENT, Detokenizer, SettledText
from llmasos_runtime.text.stop_strings import State, StopStrings


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """New tokens, and the text that they release.

    With d = decode(context_ids + token_ids), text is d[text_span[0]:text_span[1]].
    stop_string: the stop string that ended the text, which is cut before or behind it.
    """

    token_ids: tuple[int, ...]
    text: str = ""
    context_ids: tuple[int, ...] = ()
    text_span: tuple[int, int] = (0, 0)
    stop_string: str | None = None


class _Match(NamedTuple):
    """A stop string found in the text of all tokens; the earliest compares as the least."""

    begin: int
    end: int
    stop: str


class TextStream:
    """Turns tokens into pieces, whose texts joined are decode(all tokens) up to a stop string.

    stop: the first of these to appear ends the text. If several appear with one token it is the one
    that begins first, and of those the one that ends first.
    includes_stop: the text ends with that string; otherwise it ends before it.
    min_tokens: a stop string must end in text that came after this many tokens.
    prompt: tokens that lead the first piece; no stop string is looked for in their text.
    """

    def __init__(
        self,
        detokenizer: Detokenizer,
        *,
        stop: Sequence[str] = (),
        includes_stop: bool = False,
        min_tokens: int = 0,
        prompt: Sequence[int] = (),
    ) -> None:
        self._text = SettledText(detokenizer)
        self._stops = StopStrings(stop) if stop else None
        self._state = None if self._stops is None else self._stops.start
        self._includes_stop = includes_stop
        self._min_tokens = min_tokens
        self._num_tokens = 0
        self._num_sent = 0
        self._held = ""  # settled, and not sent
        self._unsent_ids = list(prompt)
        self._num_before = 0  # tokens with text that were sent
        self._begin_output(prompt, detokenizer.num_in_run(prompt))

    def push(self, token_ids: Sequence[int]) -> Piece:
        """Takes new tokens. The piece ends with the token that completed a stop string, if any."""
        return self._piece(self._take(token_ids), is_last=False)

    def finish(self, token_ids: Sequence[int] = (), *, end_token_ids: Sequence[int] = ()) -> Piece:
        """Returns the last tokens and all text that was held.

        end_token_ids: follow them and count as tokens, but their text is left out.
        """
        match = self._take(token_ids)
        if match is None:
            self._text.end(end_token_ids)
            self._unsent_ids += end_token_ids
            match = self._earliest("", self._text.loose)
        return self._piece(match, is_last=True)

    def _begin_output(self, prompt: Sequence[int], num_in_run: int) -> None:
        """Decodes the prompt at once, so that the output's text begins after it."""
        num_whole = len(prompt) - num_in_run
        for ids in (prompt[:num_whole], *([i] for i in prompt[num_whole:])):
            self._held += self._text.extend(ids)
        self._num_prompt = self._text.num_characters + len(_shown(self._text.loose))
        self._not_before = self._num_prompt

    def _take(self, token_ids: Sequence[int]) -> _Match | None:
        for token_id in token_ids:
            self._unsent_ids.append(token_id)
            self._num_tokens += 1
            settled = self._text.extend((token_id,))
            self._held += settled
            match = self._earliest(settled, _shown(self._text.loose))
            if match is not None:
                return match
        return None

    def _earliest(self, settled: str, loose: str) -> _Match | None:
        """The earliest stop string that ends in this text; loose text is read without keeping
        it.
        """
        if self._stops is None or self._state is None:
            return None
        num_settled = self._text.num_characters
        if self._num_tokens <= self._min_tokens:
            self._not_before = max(self._not_before, num_settled + len(loose))
        begin = num_settled - len(settled)
        self._state, matches = self._read(self._stops, self._state, settled, begin)
        _, more = self._read(self._stops, self._state, loose, num_settled)
        return min((m for m in (*matches, *more) if m.end > self._not_before), default=None)

    def _read(
        self, stops: StopStrings, state: State, text: str, begin: int
    ) -> tuple[State, list[_Match]]:
        """The stop strings in this text, without the prompt's part of it."""
        skipped = max(0, self._num_prompt - begin)
        state, found = stops.read(state, text[skipped:])
        ends = ((begin + skipped + place, stop) for place, stop in found)
        return state, [_Match(end - len(stop), end, stop) for end, stop in ends]

    def _piece(self, match: _Match | None, *, is_last: bool) -> Piece:
        text = self._held
        if match is not None:
            end = match.end if self._includes_stop else match.begin
            text = (text + self._text.loose)[: end - self._num_sent]
        elif is_last:
            text += self._text.loose
        elif self._state is not None:
            text = text[: len(text) - self._state.length]
        token_ids, self._unsent_ids = tuple(self._unsent_ids), []
        context_ids, begin = self._context()
        self._held = self._held[len(text) :]
        self._num_sent += len(text)
        self._forget_anchors()
        return Piece(
            token_ids=token_ids,
            text=text,
            context_ids=context_ids,  # of an empty text too: a later one may be joined to it
            text_span=(begin, begin + len(text)),
            stop_string=None if match is None else match.stop,
        )

    def _context(self) -> tuple[tuple[int, ...], int]:
        """Sent tokens from the last anchor before the text on, and the start of its decoding."""
        anchor = self._text.anchors[0]
        context_ids = tuple(self._text.token_ids[anchor.index : self._num_before])
        return context_ids, anchor.own + self._num_sent - anchor.end

    def _forget_anchors(self) -> None:
        anchors = self._text.anchors
        while len(anchors) > 1 and anchors[1].end <= self._num_sent:
            anchors.popleft()
        self._num_before = len(self._text.token_ids)


def _shown(loose: str) -> str:
    """The text that a stop string may match before it is settled: U+FFFD may still change."""
    return loose.partition(REPLACEMENT)[0]
