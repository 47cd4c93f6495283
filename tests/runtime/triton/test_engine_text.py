"""The engine model asked with text, in the words of the ensemble."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_backend import FakeBackend, FakeError, FakeMetricFamily, FakeRequest, FakeSender, tensor
from held_engine import AtOnce, HeldEngine, Sink, usage
from llmasos.contract import ENGINE_INPUTS, ENGINE_OUTPUTS
from llmasos.contract.text_tensors import ENGINE_NAMES
from llmasos.outputs import FinishReason
from llmasos.text.tokenizer import Tokenizer
from llmasos_runtime.sequences.request import Request
from llmasos_runtime.triton.engine_model import EngineModel
from patience import PATIENCE_S

OUTPUTS = tuple(tensor.name for tensor in ENGINE_OUTPUTS)


@dataclass
class AwaitedEngine(HeldEngine):
    """Tells when a request has come: its text is encoded in a thread."""

    submitted: threading.Event = field(default_factory=threading.Event)

    def submit(self, request: Request, sink: Sink) -> None:
        super().submit(request, sink)
        self.submitted.set()


@pytest.fixture
def engine(tiny_llama: Path) -> AwaitedEngine:
    limits = SimpleNamespace(max_seq_len=512)
    plan = SimpleNamespace(eos_token_ids=(2,), limits=limits, encoder_decoder=None)
    return AwaitedEngine(plan=plan, tokenizer=Tokenizer.load(tiny_llama))


@pytest.fixture
def model(engine: AwaitedEngine) -> Iterator[EngineModel]:
    FakeMetricFamily.values.clear()
    made = EngineModel(
        FakeBackend,
        engine,
        check_period_s=0.01,
        default_deadline_ms=60_000,
        die=lambda: None,
        make_queue=AtOnce,
    )
    with closing(made) as model:
        yield model


def ask(
    model: EngineModel,
    *,
    request_id: str = "",
    outputs: tuple[str, ...] = OUTPUTS,
    parameters: dict[str, object] | None = None,
    **inputs: Any,
) -> FakeSender:
    request = FakeRequest(
        {name: tensor(value) for name, value in inputs.items()},
        request_id=request_id,
        outputs=outputs,
        parameters=parameters,
    )
    model.execute([request])
    return request.sender


def asked(model: EngineModel, engine: AwaitedEngine, **inputs: Any) -> Request:
    ask(model, **inputs)
    assert engine.submitted.wait(PATIENCE_S)
    return engine.requests[-1]


def refusal(model: EngineModel, **inputs: Any) -> str:
    sender = ask(model, **inputs)
    assert sender.final.wait(PATIENCE_S)
    error = sender.error()
    assert error.code == FakeError.INVALID_ARG
    return error.message


def test_text_is_encoded_and_the_ensembles_names_are_understood(
    model: EngineModel, engine: AwaitedEngine
) -> None:
    request = asked(
        model,
        engine,
        text_input="hi ☃",
        max_tokens=7,
        top_k=5,
        top_p=0.5,
        stop_words=["END"],
        stream=True,
    )
    assert engine.tokenizer.decode(request.prompt_token_ids) == "hi ☃"
    params = request.params
    assert (params.max_tokens, params.top_k, params.top_p) == (7, 5, 0.5)
    assert params.stop == ("END",)
    assert not request.echo, "a stream leaves the prompt out"


def test_a_conversation_is_rendered_and_encoded(model: EngineModel, engine: AwaitedEngine) -> None:
    messages = [{"role": "user", "content": "hi"}]
    request = asked(model, engine, messages=json.dumps(messages), max_tokens=7)
    rendered = engine.tokenizer.render_chat(messages)
    assert engine.tokenizer.decode(request.prompt_token_ids, skip_special_tokens=False) == rendered


def test_the_engines_own_names_go_with_text_too(model: EngineModel, engine: AwaitedEngine) -> None:
    request = asked(model, engine, text_input="a", request_output_len=3, runtime_top_k=4)
    assert (request.params.max_tokens, request.params.top_k) == (3, 4)


def test_a_response_has_text_and_nothing_empty(model: EngineModel, engine: AwaitedEngine) -> None:
    sender = ask(model, text_input="a", max_tokens=7, stream=True)
    assert engine.submitted.wait(PATIENCE_S)
    engine.emit(token_ids=(8,), text="é", text_span=(0, 1))
    engine.emit(token_ids=(9,), text="", text_span=(0, 0))
    engine.emit(token_ids=(9,), text="b", finish_reason=FinishReason.STOP, usage=usage(3))
    values = [response.values for response in sender.responses]
    assert [v["text_output"].tolist() for v in values] == [["é".encode()], [b""], [b"b"]]
    assert set(values[0]) == {"output_ids", "sequence_length", "text_output"}
    assert json.loads(values[-1]["ending"].item())["usage"]["num_output_tokens"] == 3


def test_only_requested_outputs_are_sent(model: EngineModel, engine: AwaitedEngine) -> None:
    sender = ask(
        model, text_input="a", max_tokens=7, stream=True, outputs=("text_output", "ending")
    )
    assert engine.submitted.wait(PATIENCE_S)
    engine.emit(token_ids=(8,), text="a", text_span=(0, 1))
    engine.emit(token_ids=(9,), text="b", finish_reason=FinishReason.STOP, usage=usage(3))
    assert [set(r.values) for r in sender.responses] == [{"text_output"}, {"text_output", "ending"}]


def test_the_text_of_gathered_updates_is_joined(model: EngineModel, engine: AwaitedEngine) -> None:
    sender = ask(model, text_input="a", max_tokens=7, outputs=("text_output",))
    assert engine.submitted.wait(PATIENCE_S)
    engine.emit(token_ids=(8,), text="a", text_span=(0, 1))
    engine.emit(token_ids=(9,), text="bc", finish_reason=FinishReason.STOP, usage=usage(3))
    (response,) = sender.responses
    assert response.values["text_output"].tolist() == [b"abc"]


def test_a_request_is_stopped_before_its_text_is_encoded(
    model: EngineModel, engine: AwaitedEngine
) -> None:
    ask(model, request_id="a", stop=True, input_ids=[1], input_lengths=1, deadline_ms=60_000)
    sender = ask(model, request_id="a", text_input="a", max_tokens=7)
    assert sender.final.wait(PATIENCE_S)
    assert sender.responses[-1].values["finish_reason"].tolist() == [[b"abort"]]


def test_a_wrong_request_is_refused_in_the_words_that_its_client_used(model: EngineModel) -> None:
    assert refusal(model, text_input="a") == "max_tokens is missing"
    assert refusal(model, text_input="a", max_tokens=0).startswith("max_tokens must be between 1")
    assert refusal(model, text_input="", max_tokens=3) == "text_input is empty"
    assert "max_tokens and request_output_len are one input" in refusal(
        model, text_input="a", max_tokens=3, request_output_len=3
    )
    assert "input_ids must be left out where text is given, got 2 tokens" in refusal(
        model, text_input="a", max_tokens=3, input_ids=[1, 2], input_lengths=2
    )
    assert "the prompt is missing" in refusal(model, max_tokens=3)
    assert "is temperature meant?" in refusal(
        model, text_input="a", max_tokens=3, parameters={"temperatur": 1.0}
    )
    assert "messages needs" not in refusal(model, text_input="a", tools="[]", max_tokens=3)


def test_each_name_of_the_ensemble_is_an_input_of_the_engine() -> None:
    names = {tensor.name for tensor in ENGINE_INPUTS}
    assert {*ENGINE_NAMES, *ENGINE_NAMES.values()} <= names
