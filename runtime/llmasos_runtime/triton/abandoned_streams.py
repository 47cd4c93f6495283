"""Detects streams of the ensemble whose client has gone.

Triton 2.51 does not tell the steps of an ensemble that a client has cancelled or disconnected, but
from then on it no longer passes the engine's responses on to the detokenizer. So the detokenizer
counts the pieces of each stream, and the engine asks it for the counts. The question travels the
way of the pieces and is answered after those sent before it, so a client that reads slowly
changes nothing. A piece that is missing twice in a row was not passed on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from llmasos.errors import EngineStoppedError

from llmasos_runtime.triton.backend import Backend

QUERY = -1
"""Marks a text_piece as a query for the counts of the streams whose numbers follow it."""
_PERIOD_S = 0.4
_log = logging.getLogger(__name__)


class PieceCounts:
    """Counts the pieces of each stream that have come to a detokenizer."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, number: int) -> None:
        """Counts one piece. number: the stream's; a later stream has a greater one."""
        self._counts[number] = self._counts.get(number, 0) + 1

    def answer(self, numbers: Sequence[int]) -> list[int]:
        """Returns the counts of the running streams; earlier streams that ended are forgotten."""
        answer = [self._counts.get(number, 0) for number in numbers]
        running, last = set(numbers), max(numbers, default=0)
        self._counts = {n: c for n, c in self._counts.items() if n in running or n > last}
        return answer


class Detokenizer:
    """The detokenizer as seen by the engine. model: its name."""

    def __init__(self, backend: Backend, model: str = "detokenizer") -> None:
        self._backend = backend
        self._model = model

    def count(self, numbers: Sequence[int]) -> list[int]:
        """Returns how many pieces of each stream have come to it; an empty list if it cannot know.

        Raises EngineStoppedError if it does not answer.
        """
        query = self._backend.Tensor("text_piece", np.array([[QUERY, *numbers]], np.int32))
        request = self._backend.InferenceRequest(
            model_name=self._model, requested_output_names=["text_output"], inputs=[query]
        )
        response = request.exec()
        if response.has_error():
            raise EngineStoppedError(f"the detokenizer does not answer: {response.error()}")
        (output,) = response.output_tensors()
        return [int(count) for count in output.as_numpy().flat[0].split()]


class AbandonedStreams:
    """Looks for abandoned streams in a thread of its own.

    count: see Detokenizer. sent: returns the number of pieces that each stream has sent so far, by
    the stream's number. cancel: ends a stream.
    """

    def __init__(
        self,
        count: Callable[[Sequence[int]], Sequence[int]],
        *,
        sent: Callable[[], Mapping[int, int]],
        cancel: Callable[[int], object],
    ) -> None:
        self._count = count
        self._sent = sent
        self._cancel = cancel
        self._late: dict[int, int] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="abandoned streams", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stops looking. It does not wait for a question that Triton will not answer any more."""
        self._closed.set()
        self._thread.join(timeout=_PERIOD_S)

    def look(self) -> None:
        """Cancels streams whose pieces are missing now and were missing at the last look."""
        sent = self._sent()
        if not sent:
            self._late = {}
            return
        counts = self._count(list(sent))
        seen = dict(zip(sent, counts, strict=True)) if counts else dict(sent)
        for number in seen:
            if seen[number] < self._late.get(number, 0):
                self._cancel(number)
        self._late = {number: sent[number] for number in sent if seen[number] < sent[number]}

    def _run(self) -> None:
        while not self._closed.wait(_PERIOD_S):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - the next look may be answered
                if not self._closed.is_set():
                    _log.exception("the detokenizer could not be asked")
