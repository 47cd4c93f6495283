"""One answer while it is being made: an iterator of pieces that can be left early."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, partial
from queue import SimpleQueue
from types import TracebackType

from llmasos.errors import EngineStoppedError
from llmasos.forked import OwnProcess
from llmasos.outputs import Generation, StreamPiece

_log = logging.getLogger(__name__)


class PieceStream:
    """The pieces of one request, in order; the last one has finish_reason and usage. Those of
    several answers are mixed, and each last one has them.

    Leaving the stream before its last piece (`break`, `close`, leaving its `with` block, or
    dropping it) cancels the request, so that it takes no more steps. In a forked child it yields
    no more pieces, and leaving it does nothing.

    receive: waits for the next piece; raises an LLMasOSError if the request failed.
    cancel: ends the request at its source. abandon: does the same for a stream that was dropped,
    in whichever thread collects garbage, so it must neither wait nor take a lock. Without it,
    cancel is called in a thread of its own.
    """

    def __init__(
        self,
        receive: Callable[[], StreamPiece],
        cancel: Callable[[], object],
        abandon: Callable[[], object] | None = None,
    ) -> None:
        self._receive = receive
        self._cancel = cancel
        self._abandon = abandon or partial(_reaper().put, cancel)
        self._process = OwnProcess("this stream")
        self._open = True

    def __iter__(self) -> PieceStream:
        return self

    def __next__(self) -> StreamPiece:
        if not self._open:
            raise StopIteration
        self._process.check()
        try:
            piece = self._receive()
        except BaseException:
            self.close()
            raise
        if piece.is_last:
            self._open = False
        return piece

    def __enter__(self) -> PieceStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._open:
            self._open = False
            if self._process.is_this:
                self._abandon()

    def close(self) -> None:
        """Cancel the request if it has not finished; calling it again does nothing."""
        if self._open:
            self._open = False
            if self._process.is_this:
                self._cancel()

    def read(self) -> Generation:
        """Wait for the rest and return it as one Generation."""
        return join(self)


@cache
def _reaper() -> SimpleQueue[Callable[[], object]]:
    """A queue of functions that cancel dropped streams, called by a thread; destructors may put."""
    dropped: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def reap() -> None:
        while True:
            try:
                dropped.get()()
            except Exception:  # noqa: BLE001 - nobody waits for what was dropped
                _log.exception("a dropped stream could not be cancelled")

    threading.Thread(target=reap, name="dropped streams", daemon=True).start()
    return dropped


# A forked process has no such thread, and starts one of its own.
os.register_at_fork(after_in_child=_reaper.cache_clear)


def settle_dropped(timeout_s: float) -> None:
    """Waits until all streams dropped so far are cancelled, for at most timeout_s."""
    settled = threading.Event()
    _reaper().put(settled.set)
    settled.wait(timeout_s)


def join(pieces: Iterable[StreamPiece]) -> Generation:
    """Put the pieces of one request together; raises EngineStoppedError if the last is missing.

    Of several answers it is the first, which has the others.
    """
    of_each: dict[int, list[StreamPiece]] = {}
    for piece in pieces:
        of_each.setdefault(piece.index, []).append(piece)
        if piece.is_last and piece.usage is not None:
            first, *others = (_joined(of_each[index]) for index in sorted(of_each))
            return replace(first, others=tuple(others))
    raise EngineStoppedError("the answer ended before its last piece")


def _joined(pieces: list[StreamPiece]) -> Generation:
    last = pieces[-1]
    assert last.finish_reason is not None
    assert last.usage is not None
    return Generation(
        text="".join(piece.text for piece in pieces),
        token_ids=tuple(token for piece in pieces for token in piece.token_ids),
        finish_reason=last.finish_reason,
        stop_reason=last.stop_reason,
        usage=last.usage,
        logprobs=tuple(logprob for piece in pieces for logprob in piece.logprobs),
    )
