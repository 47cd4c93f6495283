"""Runs a request that searches beams: each beam is a request of one token, step after step.

The beams of a step share the forward with whatever else runs, and find the keys and values of what
they have in common in the prefix cache, so a step computes at most a block of tokens for each.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from llmasos.errors import DeadlineExceededError, LLMasOSError
from llmasos.outputs import FinishReason
from llmasos.sampling import SamplingParams

from llmasos_runtime.engine.beam_hypotheses import Beam, BeamHypotheses
from llmasos_runtime.engine.beam_params import check_beams
from llmasos_runtime.engine.beam_rows import BeamRows, Tokens
from llmasos_runtime.engine.forced_last import forced_last
from llmasos_runtime.engine.request_output import RequestOutput, deadline_error
from llmasos_runtime.sequences.request import Request, Update
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import SequenceProgress
from llmasos_runtime.text.detokenizer import Detokenizer
from llmasos_runtime.text.text import TextStream

Sink = Callable[[Update], None]
_log = logging.getLogger(__name__)


class Submit(Protocol):
    """Queues a request of one token; is_admitted: whatever the queue's limit."""

    def __call__(self, request: Request, sink: Sink, *, is_admitted: bool) -> None: ...


class BeamSearch:
    """Finds the best answers to one request; its last updates are whole answers, the best first.

    sequences: one for each answer, as admitted; they say where answers end, and take the counts.
    submit: queues a request. cancel: ends one. end: is called before the last updates.

    Updates come on the engine's thread, one at a time, as those of other requests do.
    """

    def __init__(
        self,
        request: Request,
        sequences: list[Sequence],
        detokenizer: Detokenizer,
        sink: Sink,
        *,
        submit: Submit,
        cancel: Callable[[str], bool],
        end: Callable[[], object],
    ) -> None:
        params = request.params
        check_beams(params)
        self._request = request
        self._sequences = sequences
        self._detokenizer = detokenizer
        self._sink = sink
        self._submit = submit
        self._cancel = cancel
        self._end = end
        self._ends = sequences[0].end_token_ids
        self._max_tokens = sequences[0].max_len - len(request.prompt_token_ids)
        self._beams = BeamHypotheses(
            width=params.beam_width,
            num_end_tokens=len(self._ends),
            length_penalty=params.length_penalty,
            early_stopping=params.early_stopping,
            num_forced=request.num_forced_tokens,
        )
        self._width = params.beam_width
        self._lock = threading.Lock()
        self._number = 0  # of the step
        self._asked: dict[str, Tokens] = {}  # what each request of this step continues
        self._rows = BeamRows(
            request, self._ends, forced_last(request, max_len=sequences[0].max_len)
        )
        self._is_cancelled = False
        self._has_ended = False

    def start(self) -> None:
        """Begins; raises what `submit` raises for a request that is refused."""
        self._ask(is_first=True)

    def cancel(self) -> bool:
        """Ends the search, whose answers are then beginnings; False if it has ended."""
        with self._lock:
            if self._has_ended or self._is_cancelled:
                return False
            self._is_cancelled = True
        self._drop(self._cancel)
        return True

    def abandon(self, abandon: Callable[[str], None]) -> None:
        """As `cancel`, without a lock. abandon: ends a beam's request likewise."""
        self._is_cancelled = True
        self._drop(abandon)

    def _ask(self, *, is_first: bool = False) -> None:
        """Asks for the logits behind each running beam."""
        self._number += 1
        name = self._request.request_id
        ids = [name] if is_first else [f"{name}/{self._number}.{i}" for i in range(self._width)]
        self._asked = dict(zip(ids, (beam.token_ids for beam in self._beams.running), strict=False))
        params = self._one_token()
        for request_id, token_ids in list(self._asked.items()):
            one = Request(
                request_id=request_id,
                prompt_token_ids=(*self._request.prompt_token_ids, *token_ids),
                params=params,
                encoder_token_ids=self._request.encoder_token_ids,
                wants_logits=True,
                is_timed=is_first,
            )
            self._submit(one, self._take, is_admitted=not is_first)
        if self._is_cancelled:  # meanwhile
            self._drop(self._cancel)

    def _one_token(self) -> SamplingParams:
        params, deadline = self._request.params, self._sequences[0].deadline
        left_ms = None
        if params.deadline_ms is not None:
            left_ms = max(1, round((deadline - time.monotonic()) * 1e3))
        return SamplingParams(
            max_tokens=1,
            ignore_eos=True,
            speculate=False,
            priority=params.priority,
            deadline_ms=left_ms,
        )

    def _take(self, update: Update) -> None:
        """The sink of a beam's request."""
        if self._has_ended or update.request_id not in self._asked:
            return
        if update.error is not None:
            self._fail(self._named(update.error))
        elif self._is_cancelled or update.finish_reason is FinishReason.ABORT:
            self._answer(self._beams.running, FinishReason.ABORT)
        else:
            self._note(update)
            if not self._asked:
                self._step()

    def _named(self, error: LLMasOSError) -> LLMasOSError:
        """The error of the whole request that one of a beam stands for."""
        is_late = isinstance(error, DeadlineExceededError)
        return deadline_error(self._sequences[0]) if is_late else error

    def _note(self, update: Update) -> None:
        token_ids = self._asked.pop(update.request_id)
        (row,) = update.logits
        self._rows.add(token_ids, row)
        if not token_ids:
            for sequence in self._sequences:
                if update.usage is not None:
                    sequence.num_cached_tokens = update.usage.num_cached_tokens
                if update.timings is not None:
                    sequence.first_scheduled_ns = update.timings.first_scheduled_ns

    def _step(self) -> None:
        """Continues all beams, and asks again or answers."""
        try:
            self._advance()
            if not self._beams.is_done:
                if time.monotonic() >= self._sequences[0].deadline:
                    raise deadline_error(self._sequences[0])
                self._ask()
                return
        except LLMasOSError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - one request's trouble must not end the others
            _log.exception("beams could not be continued")
            self._fail(LLMasOSError(f"internal error: {type(error).__name__}: {error}"))
        else:
            self._answer(self._beams.ended or self._beams.running, FinishReason.LENGTH)

    def _advance(self) -> None:
        running = [beam.token_ids for beam in self._beams.running]
        self._beams.advance(self._rows.log_probs(running), self._is_end)
        self._rows.keep([beam.token_ids for beam in (*self._beams.running, *self._beams.ended)])

    def _is_end(self, beam: Beam) -> bool:
        token_ids, params = beam.token_ids, self._request.params
        if token_ids[-1] in self._ends or len(token_ids) >= self._max_tokens:
            return True
        if not params.stop:
            return False
        text = TextStream(self._detokenizer, stop=params.stop, min_tokens=params.min_tokens)
        return text.push(token_ids).stop_string is not None

    def _answer(self, beams: list[Beam], otherwise: FinishReason) -> None:
        """Sends the best beams. otherwise: how one ended that no token of its own did."""
        self._close()
        pairs = list(zip(beams[: self._request.params.n], self._sequences, strict=False))
        for index, (beam, sequence) in enumerate(pairs):
            output = RequestOutput(self._request, self._detokenizer, self._sink, index=index)
            has_stopped = bool(beam.token_ids) and beam.token_ids[-1] in self._ends
            progress = SequenceProgress(
                sequence,
                beam.token_ids,
                FinishReason.STOP if has_stopped else otherwise,
                reports=self._rows.reports(beam.token_ids),
            )
            update = output.update(progress)
            if update.error is None:
                update = replace(update, num_unfinished=len(pairs) - 1 - index)
            output.send(update)
            if update.is_last:
                return

    def _fail(self, error: LLMasOSError) -> None:
        self._close()
        output = RequestOutput(self._request, self._detokenizer, self._sink)
        output.send(output.update(SequenceProgress(self._sequences[0], error=error)))

    def _close(self) -> None:
        with self._lock:
            self._has_ended = True
        self._drop(self._cancel)
        self._end()

    def _drop(self, end: Callable[[str], object]) -> None:
        """Ends what still runs for this search."""
        for request_id in list(self._asked):
            end(request_id)
