"""The engine model between Triton's requests and an engine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from fake_backend import FakeBackend, FakeError, FakeMetricFamily, FakeRequest, FakeSender, tensor
from held_engine import AtOnce, HeldEngine, Sink, usage
from llmasos.errors import (
    DeadlineExceededError,
    EngineStoppedError,
    LLMasOSError,
    QueueFullError,
)
from llmasos.outputs import FinishReason, TokenLogprob, Usage
from llmasos.triton.transport.base import piece_of
from llmasos_runtime.engine.metrics import EngineStats
from llmasos_runtime.sequences.request import Request, Timings
from llmasos_runtime.triton.engine_model import EngineModel
from patience import PATIENCE_S, wait_until


@pytest.fixture
def engine() -> HeldEngine:
    return HeldEngine()


@pytest.fixture
def died() -> threading.Event:
    return threading.Event()


@pytest.fixture
def model(engine: HeldEngine, died: threading.Event) -> Iterator[EngineModel]:
    FakeMetricFamily.values.clear()
    with closing(made_model(engine, died)) as model:
        yield model


def made_model(
    engine: HeldEngine, died: threading.Event, *, stream_interval: int | None = 1
) -> EngineModel:
    return EngineModel(
        FakeBackend,
        engine,
        check_period_s=0.01,
        default_deadline_ms=60_000,
        die=died.set,
        stream_interval=stream_interval,
        make_queue=AtOnce,
    )


def ask(
    model: EngineModel,
    *,
    request_id: str = "",
    outputs: tuple[str, ...] = ("output_ids", "text_piece", "finish_reason", "num_output_tokens"),
    parameters: dict[str, object] | None = None,
    **inputs: Any,
) -> FakeSender:
    values = {"input_ids": [5, 6, 7], "input_lengths": 3, "request_output_len": 4, **inputs}
    request = FakeRequest(
        {name: tensor(value) for name, value in values.items()},
        request_id=request_id,
        outputs=outputs,
        parameters=parameters,
    )
    model.execute([request])
    return request.sender


def first(array: Any) -> Any:
    return np.asarray(array).reshape(-1).tolist()[0]


def test_a_stream_gets_a_response_for_each_update_and_the_last_is_final(
    model: EngineModel, engine: HeldEngine
) -> None:
    sender = ask(model, streaming=True)
    engine.emit(token_ids=(8,), text="a", text_span=(0, 1))
    engine.emit(token_ids=(9,), context_ids=(8,), text="b", text_span=(1, 2))
    assert not sender.final.is_set()
    engine.emit(token_ids=(4,), finish_reason=FinishReason.LENGTH, usage=usage(3))
    assert sender.final.is_set()
    assert [r.values["output_ids"].tolist() for r in sender.responses] == [
        [[[8]]],
        [[[9]]],
        [[[4]]],
    ]
    assert sender.responses[1].values["text_piece"].tolist() == [[0, 1, 2, 8, 9]]
    assert [first(r.values["finish_reason"]) for r in sender.responses] == [b"", b"", b"length"]
    assert [first(r.values["num_output_tokens"]) for r in sender.responses] == [0, 0, 3]


def test_without_streaming_there_is_exactly_one_response_with_all_of_the_text(
    model: EngineModel, engine: HeldEngine
) -> None:
    sender = ask(model)
    engine.emit(token_ids=(8, 9), text="", text_span=(0, 0))
    engine.emit(token_ids=(1,), context_ids=(8, 9), text="abc", text_span=(0, 3))
    engine.emit(
        token_ids=(4,),
        text="d",
        context_ids=(1,),
        text_span=(1, 2),
        finish_reason=FinishReason.STOP,
        stop_reason="END",
        usage=usage(4),
    )
    (response,) = sender.responses
    assert sender.final.is_set()
    assert response.values["output_ids"].tolist() == [[[8, 9, 1, 4]]]
    assert response.values["text_piece"].tolist() == [[0, 0, 4, 8, 9, 1, 4]]


def test_log_probs_come_in_the_classic_shapes_and_as_json(
    model: EngineModel, engine: HeldEngine
) -> None:
    outputs = ("cum_log_probs", "output_log_probs", "token_logprobs")
    sender = ask(model, outputs=outputs, logprobs=1)
    assert engine.requests[0].params.logprobs == 1
    first_two = tuple(
        TokenLogprob(token_id=t, logprob=-0.5, top_logprobs=((t, -0.5),)) for t in (8, 9)
    )
    last = TokenLogprob(token_id=4, logprob=-1.25, top_logprobs=((7, -0.25),))
    engine.emit(token_ids=(8, 9), logprobs=first_two, cumulative_logprob=-1.0)
    engine.emit(
        token_ids=(4,),
        logprobs=(last,),
        cumulative_logprob=-2.25,
        finish_reason=FinishReason.LENGTH,
        usage=usage(3),
    )
    (response,) = sender.responses
    assert response.values["cum_log_probs"].tolist() == [[-2.25]]
    assert response.values["output_log_probs"].tolist() == [[[-0.5, -0.5, -1.25]]]
    told = first(response.values["token_logprobs"]).decode()
    assert piece_of({"token_logprobs": told}).logprobs == (*first_two, last)


@pytest.mark.parametrize(("asked", "logprobs"), [({}, None), ({"return_log_probs": True}, 0)])
def test_the_classic_flag_asks_for_the_tokens_own_log_probs(
    model: EngineModel, engine: HeldEngine, asked: dict[str, Any], logprobs: int | None
) -> None:
    ask(model, **asked)
    assert engine.requests[0].params.logprobs == logprobs


def test_drafts_and_the_wish_for_timings_reach_the_engine(
    model: EngineModel, engine: HeldEngine
) -> None:
    outputs = (
        *("arrival_time_ns", "first_scheduled_time_ns", "first_token_time_ns"),
        *("last_token_time_ns", "kv_cache_alloc_total_blocks", "kv_cache_alloc_new_blocks"),
    )
    sender = ask(model, outputs=outputs, return_perf_metrics=True, draft_input_ids=[4, 5])
    assert engine.requests[0].draft_token_ids == (4, 5)
    assert engine.requests[0].is_timed
    engine.emit(
        token_ids=(4,),
        finish_reason=FinishReason.LENGTH,
        usage=Usage(num_prompt_tokens=7, num_output_tokens=4, num_cached_tokens=4),
        timings=Timings(1, 2, 3, 2**40),
    )
    (response,) = sender.responses
    assert [first(response.values[name]) for name in outputs] == [1, 2, 3, 2**40, 3, 2]
    assert response.values["last_token_time_ns"].dtype == np.int64


def test_the_logits_of_all_tokens_come_in_the_classic_shape(
    model: EngineModel, engine: HeldEngine
) -> None:
    sender = ask(model, outputs=("generation_logits",), return_generation_logits=True)
    assert engine.requests[0].wants_logits
    rows = np.arange(15, dtype=np.float32).reshape(3, 5)
    engine.emit(token_ids=(8, 9), logits=(rows[0], rows[1]))
    engine.emit(
        token_ids=(4,), logits=(rows[2],), finish_reason=FinishReason.LENGTH, usage=usage(3)
    )
    (response,) = sender.responses
    np.testing.assert_array_equal(response.values["generation_logits"], rows[None, None])


@pytest.mark.parametrize("streaming", [False, True])
def test_several_answers_are_told_apart_and_the_last_of_them_is_final(
    model: EngineModel, engine: HeldEngine, streaming: bool
) -> None:
    sender = ask(
        model,
        outputs=("output_ids", "sequence_index", "batch_index", "ending"),
        num_return_sequences=2,
        streaming=streaming,
    )
    assert engine.requests[0].params.n == 2
    engine.emit(token_ids=(8,), index=0)
    engine.emit(token_ids=(9,), index=1)
    end: dict[str, Any] = {"finish_reason": FinishReason.LENGTH, "usage": usage(2)}
    engine.emit(token_ids=(7,), index=1, num_unfinished=1, **end)
    assert not sender.final.is_set()
    engine.emit(token_ids=(6,), index=0, **end)
    assert sender.final.is_set()
    said = [
        (first(r.values["sequence_index"]), r.values["output_ids"].reshape(-1).tolist())
        for r in sender.responses
    ]
    each = [(0, [8]), (1, [9]), (1, [7]), (0, [6])]
    assert said == (each if streaming else [(1, [9, 7]), (0, [8, 6])])
    assert [first(r.values["batch_index"]) for r in sender.responses] == [0] * len(said)


def test_no_answers_are_one_as_in_the_classic_contract(
    model: EngineModel, engine: HeldEngine
) -> None:
    ask(model, num_return_sequences=0)
    assert engine.requests[0].params.n == 1


def test_an_error_ends_all_answers(model: EngineModel, engine: HeldEngine) -> None:
    sender = ask(model, num_return_sequences=2, streaming=True)
    engine.emit(token_ids=(8,), index=1)
    engine.emit(error=DeadlineExceededError("late"), index=0)
    assert sender.final.is_set()
    assert isinstance(sender.responses[-1].error, FakeError)


@pytest.mark.parametrize(("num_cached", "num_blocks"), [(0, 0), (8, 2), (9, 3)])
def test_a_block_counts_as_reused_also_where_just_a_part_of_it_is(
    model: EngineModel, engine: HeldEngine, num_cached: int, num_blocks: int
) -> None:
    """Only a block that is a whole slot can be reused in part."""
    sender = ask(model, outputs=("kv_cache_reused_blocks",))
    engine.emit(
        token_ids=(4,),
        finish_reason=FinishReason.LENGTH,
        usage=Usage(num_prompt_tokens=10, num_output_tokens=1, num_cached_tokens=num_cached),
    )
    (response,) = sender.responses
    assert response.values["kv_cache_reused_blocks"].tolist() == [[num_blocks]]


def test_a_stream_with_an_interval_begins_at_once_and_then_gathers_tokens(
    engine: HeldEngine, died: threading.Event
) -> None:
    with closing(made_model(engine, died, stream_interval=2)) as model:
        sender = ask(model, streaming=True)
        for number in range(4):
            engine.emit(
                token_ids=(number,), context_ids=(9,), text="x", text_span=(number, number + 1)
            )
        engine.emit(token_ids=(4,), finish_reason=FinishReason.LENGTH, usage=usage(5))
    sent = [response.values["output_ids"].tolist() for response in sender.responses]
    assert sent == [[[[0]]], [[[1, 2]]], [[[3, 4]]]]
    assert sender.responses[1].values["text_piece"].tolist() == [[0, 1, 3, 9, 1, 2]]


def test_an_error_follows_the_tokens_that_a_stream_had_gathered(
    engine: HeldEngine, died: threading.Event
) -> None:
    with closing(made_model(engine, died, stream_interval=8)) as model:
        sender = ask(model, streaming=True)
        for number in range(3):
            engine.emit(token_ids=(number,))
        engine.emit(error=LLMasOSError("too late"))
    *tokens, failure = sender.responses
    assert [r.values["output_ids"].tolist() for r in tokens] == [[[[0]]], [[[1, 2]]]]
    assert failure.error is not None
    assert "too late" in failure.error.message


def test_the_last_response_says_how_guessing_went(model: EngineModel, engine: HeldEngine) -> None:
    outputs = ("acceptance_rate", "total_accepted_draft_tokens", "total_draft_tokens")
    for drafts in ({}, {"num_draft_tokens": 8, "num_accepted_tokens": 6}):
        sender = ask(model, outputs=outputs, speculate=bool(drafts))
        used = Usage(num_prompt_tokens=3, num_output_tokens=9, **drafts)
        engine.emit(-1, finish_reason=FinishReason.LENGTH, usage=used)
        values = [first(sender.responses[-1].values[name]) for name in outputs]
        assert values == ([0.75, 6, 8] if drafts else [0.0, 0, 0])
    assert [request.params.speculate for request in engine.requests] == [False, True]


def test_the_ending_holds_the_reasons_and_every_count(
    model: EngineModel, engine: HeldEngine
) -> None:
    sender = ask(model, outputs=("text_piece", "ending"), streaming=True)
    engine.emit(token_ids=(4,))
    counts = {"num_prompt_tokens": 3, "num_output_tokens": 2, "num_cached_tokens": 1}
    counts |= {"num_draft_tokens": 8, "num_accepted_tokens": 6}
    engine.emit(finish_reason=FinishReason.STOP, stop_reason="Ü\n", usage=Usage(**counts))
    endings = [first(response.values["ending"]) for response in sender.responses]
    assert endings[:-1] == [b""]
    told = {"finish_reason": "stop", "stop_reason": "Ü\n", "usage": counts, "num_unfinished": 0}
    assert json.loads(endings[-1]) == told


def test_only_the_outputs_that_the_client_lists_are_sent(
    model: EngineModel, engine: HeldEngine
) -> None:
    mapped = ("text_piece", "finish_reason", "cum_log_probs", "stop_reason")
    everything = ask(model, outputs=mapped)
    listed = ask(model, outputs=mapped, parameters={"outputs": "text_output,finish_reason"})
    for number in (0, 1):
        engine.emit(number, finish_reason=FinishReason.STOP, usage=usage(1))
    assert set(everything.responses[0].values) == set(mapped)
    assert set(listed.responses[0].values) == {"text_piece", "finish_reason"}


def test_a_refused_request_gets_one_error_and_the_next_is_served(
    model: EngineModel, engine: HeldEngine
) -> None:
    refused = ask(model, temperature=float("nan"))
    assert refused.final.is_set()
    assert refused.error().code == FakeError.INVALID_ARG
    assert "temperature" in refused.error().message
    ask(model)
    assert len(engine.requests) == 1


def test_a_full_queue_is_unavailable(model: EngineModel, engine: HeldEngine) -> None:
    engine.refuses = QueueFullError("1024 requests are already waiting")
    assert ask(model).error().code == FakeError.UNAVAILABLE


def test_a_fault_in_one_request_is_an_error_of_that_request(
    model: EngineModel, engine: HeldEngine
) -> None:
    engine.refuses = ZeroDivisionError("oops")
    error = ask(model).error()
    assert (error.code, error.message) == (
        FakeError.INTERNAL,
        "internal error: ZeroDivisionError: oops",
    )


def test_an_error_in_mid_answer_is_the_last_response(
    model: EngineModel, engine: HeldEngine
) -> None:
    sender = ask(model, streaming=True)
    engine.emit(token_ids=(8,))
    engine.emit(error=QueueFullError("no room"))
    assert sender.final.is_set()
    assert sender.error().message == "no room"


def test_a_client_that_has_gone_is_cancelled(model: EngineModel, engine: HeldEngine) -> None:
    sender = ask(model, streaming=True)
    sender.cancelled = True
    assert engine.cancelled.wait(PATIENCE_S)
    assert first(sender.responses[-1].values["finish_reason"]) == b"abort"


class SlowSender(FakeSender):
    """Takes its time to say whether the client has gone, as Triton does."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = threading.Event()

    def is_cancelled(self) -> bool:
        self.is_asked.set()
        time.sleep(0.05)
        return super().is_cancelled()


def test_the_last_response_waits_while_triton_is_asked_whether_the_client_has_gone(
    model: EngineModel, engine: HeldEngine
) -> None:
    request = FakeRequest(
        {
            "input_ids": tensor([5]),
            "input_lengths": tensor(1),
            "request_output_len": tensor(4),
        }
    )
    request.sender = sender = SlowSender()
    model.execute([request])
    assert sender.is_asked.wait(PATIENCE_S)
    engine.emit(finish_reason=FinishReason.LENGTH, usage=usage(1))
    assert sender.final.is_set()


def test_stop_ends_every_request_with_its_id_and_no_other(
    model: EngineModel, engine: HeldEngine
) -> None:
    senders = [ask(model, request_id=name, streaming=True) for name in ("a", "b", "a")]
    answer = ask(model, request_id="a", stop=True)
    (response,) = answer.responses
    assert answer.final.is_set() and not response.values["output_ids"].size
    assert [sender.final.is_set() for sender in senders] == [True, False, True]


def test_stop_without_an_id_is_refused(model: EngineModel) -> None:
    assert "needs the id" in ask(model, stop=True).error().message


def test_priority_and_deadline_reach_the_engine(model: EngineModel, engine: HeldEngine) -> None:
    ask(model, priority=3, deadline_ms=30)
    ask(model)
    said = [(r.params.priority, r.params.deadline_ms) for r in engine.requests]
    assert said == [(3, 30), (0, 60_000)]


def test_what_came_too_late_is_unavailable(model: EngineModel, engine: HeldEngine) -> None:
    sender = ask(model, streaming=True)
    engine.emit(token_ids=(8,))
    engine.emit(error=DeadlineExceededError("deadline_ms of 30 passed"))
    assert (sender.error().code, sender.error().message) == (
        FakeError.UNAVAILABLE,
        "deadline_ms of 30 passed",
    )
    assert sender.final.is_set()


def test_a_response_that_cannot_be_sent_cancels_its_request_and_no_thread_dies(
    model: EngineModel, engine: HeldEngine
) -> None:
    sender = ask(model, streaming=True)
    sender.broken = True
    engine.emit(token_ids=(8,))
    assert engine.cancelled.is_set()
    assert sender.final.is_set()


def test_an_engine_that_has_stopped_takes_its_process_with_it(
    model: EngineModel, engine: HeldEngine, died: threading.Event
) -> None:
    sender = ask(model, streaming=True)
    engine.emit(error=EngineStoppedError("the step loop failed"))
    assert died.wait(PATIENCE_S)
    assert sender.error().code == FakeError.UNAVAILABLE


def test_a_closed_engine_is_no_reason_to_die(engine: HeldEngine, died: threading.Event) -> None:
    model = made_model(engine, died)
    ask(model, streaming=True)
    model.close()
    engine.emit(error=EngineStoppedError("closed"))
    time.sleep(0.05)
    assert engine.closed
    assert not died.is_set()


def test_the_engines_numbers_are_shown_under_their_classic_names(model: EngineModel) -> None:
    ask(model)
    expected = {
        "nv_trt_llm_request_metrics active": 3,
        "nv_trt_llm_kv_cache_block_metrics used": 3,
        "nv_trt_llm_general_metrics preemption_counter": 6,
        "nv_llmasos_speculation_tokens drafted": 9,
        "nv_llmasos_speculation_tokens accepted": 4,
    }
    wait_until(lambda: expected.items() <= FakeMetricFamily.values.items())


def test_a_refused_request_is_never_asked_about_again(
    model: EngineModel, engine: HeldEngine
) -> None:
    """The watcher looks while the engine refuses, and for a while after."""

    def refuse_slowly(request: Request, sink: Sink) -> None:
        time.sleep(0.03)
        raise ValueError("no") if request.request_id == "1" else QueueFullError("full")

    engine.submit = refuse_slowly  # type: ignore[method-assign]  # the test says what it does
    senders = [ask(model) for _ in range(3)]
    time.sleep(0.05)  # FakeSender fails where Triton crashes
    assert all(sender.final.is_set() for sender in senders)
    assert [sender.error().code for sender in senders] == [
        FakeError.UNAVAILABLE,
        FakeError.INTERNAL,
        FakeError.UNAVAILABLE,
    ]
    assert model._watcher.is_alive()
    assert not model._running.items()


def test_the_watch_goes_on_after_a_fault(
    model: EngineModel, engine: HeldEngine, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> EngineStats:
        raise ZeroDivisionError

    stats = engine.stats
    engine.stats = fail  # type: ignore[method-assign]  # a fault
    wait_until(lambda: "could not be looked at" in caplog.text)
    engine.stats = stats  # type: ignore[method-assign]  # as it was
    ask(model).cancelled = True
    assert engine.cancelled.wait(PATIENCE_S)


def test_a_stop_that_comes_first_can_wait_for_its_request(
    model: EngineModel, engine: HeldEngine
) -> None:
    ask(model, request_id="x", stop=True, deadline_ms=5000)
    ask(model, request_id="y", stop=True)
    ask(model, request_id="y")
    assert not engine.cancelled.is_set()
    sender = ask(model, request_id="x")
    assert engine.cancelled.is_set()
    assert sender.final.is_set()
    engine.cancelled.clear()
    ask(model, request_id="x")
    assert not engine.cancelled.is_set()
