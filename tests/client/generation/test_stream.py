"""The promises of PieceStream: it ends once, and leaving it early cancels once."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest
from llmasos.errors import EngineStoppedError
from llmasos.generation.stream import PieceStream, join
from llmasos.outputs import FinishReason, Generation, StreamPiece, Usage
from patience import wait_until

USAGE = Usage(num_prompt_tokens=1, num_output_tokens=2)
LAST = StreamPiece(text="b", token_ids=(2,), finish_reason=FinishReason.STOP, usage=USAGE)
PIECES = (StreamPiece(text="a", token_ids=(1,)), LAST)


class Source:
    """Gives pieces, raises an exception in the place of one, and counts cancellations."""

    def __init__(self, given: Iterable[StreamPiece | BaseException] = PIECES) -> None:
        self._given = iter(given)
        self.num_cancelled = 0

    def receive(self) -> StreamPiece:
        piece = next(self._given)
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def cancel(self) -> None:
        self.num_cancelled += 1

    def stream(self) -> PieceStream:
        return PieceStream(self.receive, self.cancel)


def test_reading_joins_the_text_the_tokens_and_how_it_ended() -> None:
    assert Source().stream().read() == Generation(
        text="ab",
        token_ids=(1, 2),
        finish_reason=FinishReason.STOP,
        stop_reason=None,
        usage=USAGE,
    )


def test_a_stream_that_was_read_to_its_end_is_not_cancelled() -> None:
    source = Source()
    with source.stream() as stream:
        assert tuple(stream) == PIECES
        assert tuple(stream) == ()
    assert source.num_cancelled == 0


def test_breaking_out_of_a_loop_cancels() -> None:
    source = Source()
    for _ in source.stream():
        break
    wait_until(lambda: source.num_cancelled == 1)


def test_a_dropped_stream_is_cancelled_in_no_thread_that_collects_garbage() -> None:
    threads: list[threading.Thread] = []
    stream = PieceStream(Source().receive, lambda: threads.append(threading.current_thread()))
    del stream
    wait_until(lambda: threads)
    assert threads[0] is not threading.current_thread()


def test_a_dropped_stream_is_abandoned_where_that_can_be_done_at_once() -> None:
    source, abandoned = Source(), []
    stream = PieceStream(source.receive, source.cancel, lambda: abandoned.append(True))
    del stream
    assert abandoned == [True]
    assert source.num_cancelled == 0


def test_a_cancel_that_fails_does_not_keep_others_from_being_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise RuntimeError("no")

    source = Source()
    del (streams := [PieceStream(source.receive, fail), source.stream()])[:]
    wait_until(lambda: source.num_cancelled == 1)
    assert not streams
    assert "could not be cancelled" in caplog.text


def test_closing_again_does_not_cancel_again() -> None:
    source = Source()
    with source.stream() as stream:
        stream.close()
        stream.close()
    del stream
    assert source.num_cancelled == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), EngineStoppedError("gone")])
def test_an_error_while_waiting_ends_the_stream_and_cancels(error: BaseException) -> None:
    source = Source((PIECES[0], error))
    stream = source.stream()
    assert next(stream) is PIECES[0]
    with pytest.raises(type(error)):
        next(stream)
    assert list(stream) == []
    assert source.num_cancelled == 1


def test_pieces_without_a_last_one_are_not_a_whole_answer() -> None:
    with pytest.raises(EngineStoppedError, match="before its last piece"):
        join(PIECES[:1])


def test_a_finish_reason_prints_as_a_client_gets_it() -> None:
    assert f"{FinishReason.LENGTH} {FinishReason.STOP!s}" == "length stop"
