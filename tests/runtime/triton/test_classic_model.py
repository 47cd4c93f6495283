"""A classic-named model before the model `engine`, which runs in the same process here."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from fake_backend import FakeBackend, FakeRequest, FakeResponse, FakeSender
from held_engine import AtOnce, HeldEngine, usage
from llmasos.contract import ENGINE_INPUTS, Support, Tensor
from llmasos.contract.classic_models import (
    CLASSIC_TEXT_INPUTS,
    CLASSIC_TOKEN_INPUTS,
    CLASSIC_TOKEN_OUTPUTS,
)
from llmasos.errors import EngineStoppedError, InvalidRequestError, QueueFullError
from llmasos.outputs import FinishReason, TokenLogprob
from llmasos_runtime.triton.classic_model import ClassicModel
from llmasos_runtime.triton.classic_request import ClassicDefaults
from llmasos_runtime.triton.engine_model import EngineModel
from llmasos_runtime.triton.forwarding.listener import Listener
from patience import PATIENCE_S, wait_until

ADDRESS = f"\0llmasos-test-{os.getpid()}"
OUTPUTS = tuple(tensor.name for tensor in CLASSIC_TOKEN_OUTPUTS)


@dataclass
class Held(HeldEngine):
    """arrived: a permit for each request that has come."""

    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def submit(self, request: Any, sink: Any) -> None:
        super().submit(request, sink)
        self.arrived.release()

    def wait_for(self, num_requests: int = 1) -> None:
        for _ in range(num_requests):
            assert self.arrived.acquire(timeout=PATIENCE_S)


@pytest.fixture
def engine() -> Iterator[Held]:
    held = Held()
    model = EngineModel(
        FakeBackend,
        held,
        check_period_s=1000.0,
        default_deadline_ms=60_000,
        die=lambda: None,
        stream_interval=1,
        make_queue=AtOnce,
    )
    listener = Listener(ADDRESS, model.accept_forwarded, model.end_forwarded)
    yield held
    listener.close()
    model.close()


def made(*, is_decoupled: bool = True, excludes_input: bool = False) -> ClassicModel:
    return ClassicModel(
        FakeBackend,
        address=ADDRESS,
        inputs=CLASSIC_TOKEN_INPUTS,
        outputs=CLASSIC_TOKEN_OUTPUTS,
        defaults=ClassicDefaults(
            is_decoupled=is_decoupled, excludes_input=excludes_input, includes_stop=True
        ),
    )


def inputs(num_rows: int = 1, **more: Any) -> dict[str, Any]:
    def column(value: Any, kind: Any = np.int32) -> Any:
        return np.full((num_rows, 1), value, kind)

    given = {
        "input_ids": np.tile(np.array([[5, 6, 7]], np.int32), (num_rows, 1)),
        "input_lengths": column(3),
        "request_output_len": column(4),
    }
    return given | {
        n: column(v, None if isinstance(v, bool) else np.int32) for n, v in more.items()
    }


def ask(model: ClassicModel, request_id: str = "", **given: Any) -> FakeSender:
    request = FakeRequest(inputs(**given), request_id=request_id, outputs=OUTPUTS)
    model.execute([request])
    return request.sender


def end(engine: Held, number: int = 0, **fields: Any) -> None:
    engine.emit(number, finish_reason=FinishReason.LENGTH, usage=usage(1), **fields)


def tokens(response: FakeResponse) -> list[int]:
    return [int(token) for token in response.values["output_ids"].reshape(-1)]


def test_pieces_of_a_stream_are_passed_on_and_the_last_is_final(engine: Held) -> None:
    with closing(made()) as model:
        sender = ask(model, streaming=True)
        engine.wait_for()
        engine.emit(token_ids=(8,))
        end(engine, token_ids=(9,))
        assert sender.final.wait(PATIENCE_S)
    assert [tokens(response) for response in sender.responses] == [[8], [9]]
    assert list(sender.responses[0].values) == list(OUTPUTS)


def test_what_a_request_leaves_out_is_as_the_classic_engine_had_it(engine: Held) -> None:
    with closing(made(excludes_input=True)) as model:
        ask(model)
        engine.wait_for()
        ask(model, runtime_top_k=5, random_seed=7, exclude_input_in_output=False)
        engine.wait_for()
        for number in (0, 1):
            end(engine, number)
    first, second = engine.requests
    assert (first.params.temperature, first.params.seed, first.echo) == (0.0, 0, False)
    assert first.params.include_stop_str_in_output
    assert (second.params.temperature, second.params.top_k) == (1.0, 5)
    assert (second.params.seed, second.echo) == (7, True)


def test_a_client_that_has_gone_ends_its_rows_and_no_others(engine: Held) -> None:
    with closing(made()) as model:
        other = ask(model, request_id="same", streaming=True)
        engine.wait_for()
        gone = ask(model, request_id="same", streaming=True, num_rows=2)
        engine.wait_for(2)
        gone.cancelled = True
        assert gone.final.wait(PATIENCE_S)
        wait_until(lambda: len(engine.sinks) == 1)
        assert not other.final.is_set()
        end(engine, token_ids=(8,))


def test_stop_ends_the_requests_of_its_id(engine: Held) -> None:
    with closing(made()) as model:
        running = ask(model, request_id="one", streaming=True)
        engine.wait_for()
        stop = ask(model, request_id="one", stop=True)
        assert stop.final.wait(PATIENCE_S)
        assert running.final.wait(PATIENCE_S)
    (answer,) = stop.responses
    assert answer.values["output_ids"].size == 0


def test_rows_have_responses_of_their_own_or_share_one_that_is_unary(engine: Held) -> None:
    with closing(made()) as model:
        sender = ask(model, num_rows=2)
        engine.wait_for(2)
        for number in (0, 1):
            end(engine, number, token_ids=(8,))
        assert sender.final.wait(PATIENCE_S)
    assert sorted(r.values["batch_index"].item() for r in sender.responses) == [0, 1]
    with closing(made(is_decoupled=False)) as model:
        sender = ask(model, num_rows=2)
        engine.wait_for(2)
        end(engine, 2, token_ids=(8,))
        end(engine, 3, token_ids=(9, 10))
        assert sender.final.wait(PATIENCE_S)
    (response,) = sender.responses
    rows = response.values["output_ids"].reshape(2, -1).tolist()
    assert sorted(rows) == [[8, -1], [9, 10]]
    assert response.values["batch_index"].tolist() == [[0], [1]]


def test_beams_come_as_one_answer_in_the_classic_shapes(engine: Held) -> None:
    with closing(made()) as model:
        sender = ask(model, beam_width=3)
        engine.wait_for()
        (asked,) = engine.requests
        params = asked.params
        assert (params.n, params.length_penalty, params.early_stopping) == (3, 0.0, True)
        logprobs = tuple(TokenLogprob(token_id=t, logprob=-t / 2) for t in (8, 9))
        for index in range(3):
            engine.emit(
                index=index,
                num_unfinished=2 - index,
                token_ids=(8, 9)[: index + 1],
                logprobs=logprobs[: index + 1],
                cumulative_logprob=-1.0 - index,
                finish_reason=FinishReason.LENGTH,
                usage=usage(1),
            )
        assert sender.final.wait(PATIENCE_S)
    (response,) = sender.responses
    values = response.values
    assert values["output_ids"].tolist() == [[[8, -1], [8, 9], [8, 9]]]
    assert values["sequence_length"].tolist() == [[1, 2, 2]]
    assert values["cum_log_probs"].tolist() == [[-1.0, -2.0, -3.0]]
    assert values["output_log_probs"].tolist() == [[[-4.0, 0.0], [-4.0, -4.5], [-4.0, -4.5]]]


def test_an_engine_that_does_not_listen_is_said() -> None:
    with closing(made()) as model:
        sender = ask(model)
        assert sender.final.wait(PATIENCE_S)
    assert sender.error().kind is EngineStoppedError


def test_an_error_of_the_engine_keeps_its_class(engine: Held) -> None:
    engine.refuses = QueueFullError("full")
    with closing(made(is_decoupled=False)) as model:
        sender = ask(model)
        assert sender.final.wait(PATIENCE_S)
    assert sender.error().kind is QueueFullError


@pytest.mark.parametrize("is_decoupled", [True, False])
def test_triton_gets_what_it_wants_of_a_model_that_answers_later(
    engine: Held, is_decoupled: bool
) -> None:
    with closing(made(is_decoupled=is_decoupled)) as model:
        request = FakeRequest(inputs(streaming=True, return_context_logits=True), outputs=OUTPUTS)
        expected = None if is_decoupled else [None]
        assert model.execute([request]) == expected
        assert request.sender.final.wait(PATIENCE_S)
    if not is_decoupled:
        assert request.sender.error().kind is InvalidRequestError
        assert "using decoupled mode." in request.sender.error().message
    else:
        assert request.sender.error().message.startswith(
            "return_context_logits is not supported yet"
        )


@pytest.mark.parametrize("tensor", [*CLASSIC_TOKEN_INPUTS, *CLASSIC_TEXT_INPUTS])
def test_an_input_reaches_the_engine_by_a_name_that_it_knows_or_is_refused(tensor: Tensor) -> None:
    known = {tensor.name for tensor in ENGINE_INPUTS}
    assert tensor.target in known or tensor.support is Support.NEUTRAL_ONLY
