"""One answer while it is being made: an iterator of pieces that can be left early."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType

from llmasos.errors import EngineStoppedError
from llmasos.outputs import Generation, StreamPiece


class PieceStream:
    """The pieces of one request, in order; the last one has finish_reason and usage.

    Leaving the stream before its last piece (`break`, `close`, leaving its `with`
    block, or dropping it) cancels the request, so that it takes no more steps.

    receive: waits for the next piece; raises an LLMasOSError when the request failed.
    cancel: ends the request at its source.
    """

    def __init__(self, receive: Callable[[], StreamPiece], cancel: Callable[[], object]) -> None:
        self._receive = receive
        self._cancel = cancel
        self._open = True

    def __iter__(self) -> PieceStream:
        return self

    def __next__(self) -> StreamPiece:
        if not self._open:
            raise StopIteration
        try:
            piece = self._receive()
        except BaseException:
            self.close()
            raise
        if piece.finish_reason is not None:
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
        self.close()

    def close(self) -> None:
        """Cancel the request if it has not finished; calling it again does nothing."""
        if self._open:
            self._open = False
            self._cancel()

    def read(self) -> Generation:
        """Wait for the rest and return it as one Generation."""
        return join(self)


def join(pieces: Iterable[StreamPiece]) -> Generation:
    """Put the pieces of one request together; raises EngineStoppedError if the last is missing."""
    text: list[str] = []
    token_ids: list[int] = []
    for piece in pieces:
        text.append(piece.text)
        token_ids += piece.token_ids
        if piece.finish_reason is not None and piece.usage is not None:
            return Generation(
                text="".join(text),
                token_ids=tuple(token_ids),
                finish_reason=piece.finish_reason,
                stop_reason=piece.stop_reason,
                usage=piece.usage,
            )
    raise EngineStoppedError("the answer ended before its last piece")
