"""A stream whose pieces are not passed on is ended, and one that is only slow is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest
from fake_backend import FakeBackend, FakeInferenceRequest, FakeTensor
from llmasos.errors import EngineStoppedError
from llmasos_runtime.triton.abandoned_streams import (
    QUERY,
    AbandonedStreams,
    Detokenizer,
    PieceCounts,
)


@dataclass
class Streams:
    """sent, seen: pieces of each stream. seen is None where the detokenizer cannot know."""

    sent: dict[int, int]
    seen: dict[int, int] | None = field(default_factory=dict[int, int])
    cancelled: list[int] = field(default_factory=list[int])
    num_questions: int = 0

    def __post_init__(self) -> None:
        self.abandoned = AbandonedStreams(
            self.count, sent=lambda: dict(self.sent), cancel=self.cancelled.append
        )

    def count(self, numbers: Sequence[int]) -> list[int]:
        self.num_questions += 1
        return [] if self.seen is None else [self.seen.get(number, 0) for number in numbers]


def test_a_piece_that_is_missing_twice_ends_its_stream_alone() -> None:
    streams = Streams(sent={1: 5, 2: 5}, seen={1: 3, 2: 5})
    streams.abandoned.look()
    assert streams.cancelled == []
    streams.sent = {1: 9, 2: 9}
    streams.seen = {1: 3, 2: 9}
    streams.abandoned.look()
    assert streams.cancelled == [1]


def test_a_piece_that_comes_late_ends_nothing() -> None:
    streams = Streams(sent={1: 0})
    for sent in range(5, 50, 5):
        streams.sent = {1: sent}
        streams.seen = {1: sent - 5}
        streams.abandoned.look()
    assert streams.cancelled == []


def test_a_stream_that_has_sent_nothing_is_not_abandoned() -> None:
    streams = Streams(sent={1: 0})
    for _ in range(3):
        streams.abandoned.look()
    assert streams.cancelled == []


def test_where_the_detokenizer_cannot_know_nothing_is_ended() -> None:
    streams = Streams(sent={1: 5}, seen=None)
    for _ in range(3):
        streams.abandoned.look()
    assert streams.cancelled == []


def test_without_streams_the_detokenizer_is_not_asked() -> None:
    streams = Streams(sent={})
    streams.abandoned.look()
    assert streams.num_questions == 0


def test_counts_are_kept_for_streams_that_run_or_have_just_begun() -> None:
    counts = PieceCounts()
    for number in (1, 2, 2, 3, 9):
        counts.add(number)
    assert counts.answer([2, 3]) == [2, 1]
    assert counts.answer([1, 2, 3, 9]) == [0, 2, 1, 1]


class Answering(FakeBackend):
    """Answers questions to other models."""

    answer: Any = None
    asked: Any = None

    class InferenceRequest(FakeInferenceRequest):
        def exec(self) -> object:
            Answering.asked = self
            return Answering.answer


class Answer:
    """reason: why there is none."""

    def __init__(self, text: bytes, *, reason: str = "") -> None:
        self._tensor = FakeTensor("text_output", np.array([[text]], np.object_))
        self._reason = reason

    def has_error(self) -> bool:
        return bool(self._reason)

    def error(self) -> str:
        return self._reason

    def output_tensors(self) -> list[FakeTensor]:
        return [self._tensor]


@pytest.mark.parametrize(("text", "counts"), [(b"5 0", [5, 0]), (b"", [])])
def test_the_model_is_asked_by_a_piece_of_its_own(text: bytes, counts: list[int]) -> None:
    Answering.answer = Answer(text)
    assert Detokenizer(cast("Any", Answering)).count([3, 4]) == counts
    assert Answering.asked.model_name == "detokenizer"
    (piece,) = Answering.asked.inputs
    assert piece.as_numpy().tolist() == [[QUERY, 3, 4]]


def test_a_detokenizer_that_does_not_answer_is_an_error() -> None:
    Answering.answer = Answer(b"", reason="it is unloaded")
    with pytest.raises(EngineStoppedError, match="does not answer: it is unloaded"):
        Detokenizer(cast("Any", Answering)).count([3])
