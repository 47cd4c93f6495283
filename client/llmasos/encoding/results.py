"""Results of the tasks of encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """What a classifier says of one text.

    label, score: the likeliest label. scores: of every label; they add up to 1, except where
    each label is decided alone.
    """

    label: str
    score: float
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSpan:
    """A token or word with its label.

    text: text[start:end] of the input. start, end: characters.
    """

    label: str
    score: float
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedDocument:
    """A document's place among others. index: its number in the list that was given."""

    index: int
    score: float
    document: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledMask:
    """A token for a gap. text: the whole text with this token in the gap."""

    token: str
    token_id: int
    score: float
    text: str
