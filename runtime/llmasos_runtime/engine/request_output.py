"""The output of one request so far: turns the progress of its sequence into updates."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import NamedTuple

from llmasos.errors import DeadlineExceededError, LLMasOSError
from llmasos.outputs import FinishReason, TokenLogprob, Usage

from llmasos_runtime.sampling.report import TokenReport
from llmasos_runtime.sequences.request import Request, Timings, Update
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import SequenceProgress
from llmasos_runtime.text.detokenizer import Detokenizer
from llmasos_runtime.text.text import Piece, TextStream

_log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """One of the answers to a request: what is computed, and who is told of it."""

    sequence: Sequence
    output: RequestOutput


class RequestOutput:
    """Turns the progress of one sequence into updates, of which exactly one is final.

    sink: receives the updates on the engine's thread; it must neither block nor raise.
    index: which of the request's answers it is.
    """

    def __init__(
        self,
        request: Request,
        detokenizer: Detokenizer,
        sink: Callable[[Update], None],
        *,
        index: int = 0,
    ) -> None:
        params = request.params
        self._sink = sink
        self._request = request
        self._first_token_ns = self._last_token_ns = 0
        self._index = index if params.n > 1 else None
        self._num_output_tokens = -len(request.prompt_token_ids) if request.echo else 0
        self._logprob = None if params.logprobs is None else 0.0
        self._text = TextStream(
            detokenizer,
            stop=params.stop,
            includes_stop=params.include_stop_str_in_output,
            min_tokens=params.min_tokens,
            prompt=request.prompt_token_ids if request.echo else (),
        )

    def update(self, progress: SequenceProgress) -> Update:
        """Returns the next update; it is final if the sequence ended, failed, or met a stop
        string. An error in making it fails this request and no other.
        """
        try:
            return self._update(progress)
        except Exception as error:  # noqa: BLE001 - one request's trouble must not end the others
            _log.exception("an answer could not be made")
            message = f"internal error: {type(error).__name__}: {error}"
            return self._failure(LLMasOSError(message))

    def send(self, update: Update) -> bool:
        """Hands an update to the sink; returns False, after logging it, if the sink raises."""
        try:
            self._sink(update)
        except Exception:  # noqa: BLE001 - what the caller's sink does must not end the others
            _log.exception("a sink failed; its request is cancelled")
            return False
        return True

    def _update(self, progress: SequenceProgress) -> Update:
        if progress.error is not None:
            return self._failure(progress.error)
        if progress.token_ids:
            self._last_token_ns = time.monotonic_ns()
            self._first_token_ns = self._first_token_ns or self._last_token_ns
        piece = self._piece(progress)
        num_before = max(0, self._num_output_tokens)
        self._num_output_tokens += len(piece.token_ids)
        num_new = max(0, self._num_output_tokens) - num_before
        reports = progress.reports[:num_new]
        reason, stop_reason = progress.finish_reason, self._stop_token(progress)
        if piece.stop_string is not None:
            reason, stop_reason = FinishReason.STOP, piece.stop_string
        return Update(
            request_id=self._request.request_id,
            token_ids=piece.token_ids,
            text=piece.text,
            context_ids=piece.context_ids,
            text_span=piece.text_span,
            finish_reason=reason,
            stop_reason=stop_reason,
            usage=None if reason is None else self._usage(progress.sequence),
            logprobs=self._logprobs(reports),
            logits=tuple(report.logits for report in reports if report.logits is not None),
            cumulative_logprob=self._logprob,
            timings=None if reason is None else self._timings(progress.sequence),
            index=self._index,
        )

    def _logprobs(self, reports: tuple[TokenReport, ...]) -> tuple[TokenLogprob, ...]:
        """Those of new tokens, which are added up."""
        if self._logprob is None:
            return ()
        logprobs = tuple(report.logprob for report in reports if report.logprob is not None)
        self._logprob += math.fsum(one.logprob for one in logprobs)
        return logprobs

    def _timings(self, sequence: Sequence) -> Timings | None:
        if not self._request.is_timed:
            return None
        return Timings(
            sequence.arrival_ns,
            sequence.first_scheduled_ns,
            self._first_token_ns,
            self._last_token_ns,
        )

    def _failure(self, error: LLMasOSError) -> Update:
        """Returns the final update of a request that failed."""
        return Update(request_id=self._request.request_id, error=error, index=self._index)

    def _piece(self, progress: SequenceProgress) -> Piece:
        if progress.finish_reason is None:
            return self._text.push(progress.token_ids)
        if progress.finish_reason is FinishReason.STOP:  # the text of an end token is not shown
            return self._text.finish(progress.token_ids[:-1], end_token_ids=progress.token_ids[-1:])
        return self._text.finish(progress.token_ids)

    def _stop_token(self, progress: SequenceProgress) -> str | None:
        """The token that ended the sequence, if the caller named it by a stop word or by its id."""
        if progress.finish_reason is FinishReason.STOP:
            token_id = progress.token_ids[-1]
            if token_id in self._request.stop_tokens:
                return self._request.stop_tokens[token_id]
            if token_id in self._request.params.stop_token_ids:
                return str(token_id)
        return None

    def _usage(self, sequence: Sequence) -> Usage:
        return Usage(
            num_prompt_tokens=len(
                self._request.encoder_token_ids or self._request.prompt_token_ids
            ),
            num_output_tokens=self._num_output_tokens,
            num_cached_tokens=sequence.num_cached_tokens,
            num_draft_tokens=sequence.num_draft_tokens,
            num_accepted_tokens=sequence.num_accepted_tokens,
        )


def deadline_error(sequence: Sequence) -> DeadlineExceededError:
    """The error of a request that was not answered in time."""
    return DeadlineExceededError(
        f"deadline_ms of {sequence.params.deadline_ms} passed before the answer was whole"
    )
