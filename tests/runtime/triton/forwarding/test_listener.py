"""Requests of other models come to the engine's process, and their ends too."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llmasos.errors import EngineStoppedError, InvalidRequestError, PlanError
from llmasos_runtime.triton.backend import FINAL, error_response
from llmasos_runtime.triton.forwarding import listener as listener_module
from llmasos_runtime.triton.forwarding.address import engine_address
from llmasos_runtime.triton.forwarding.call import EngineCall
from llmasos_runtime.triton.forwarding.listener import Listener
from llmasos_runtime.triton.forwarding.plain_backend import InferenceResponse, PlainBackend, Tensor
from patience import PATIENCE_S, wait_until

ADDRESS = f"\0llmasos-test-listener-{os.getpid()}"


class Engine:
    """Keeps requests, and the senders that are gone."""

    def __init__(self, answer: Callable[[Any], None] | None = None) -> None:
        self.requests: list[Any] = []
        self.gone: list[Any] = []
        self._answer = answer

    def accept(self, request: Any) -> None:
        self.requests.append(request)
        if self._answer is not None:
            self._answer(request)


@contextmanager
def listening(engine: Engine) -> Iterator[Listener]:
    with closing(Listener(ADDRESS, engine.accept, engine.gone.append)) as listener:
        yield listener


def call(**inputs: Any) -> EngineCall:
    return EngineCall(
        ADDRESS,
        request_id="one",
        parameters={"user": "x"},
        outputs=["output_ids"],
        inputs={name: np.array([value]) for name, value in inputs.items()},
    )


def response(value: int, size: int = 1) -> InferenceResponse:
    return InferenceResponse(output_tensors=[Tensor("output_ids", np.full((1, size), value))])


def test_a_request_comes_as_it_was_sent_and_its_responses_go_back_in_order() -> None:
    def answer(request: Any) -> None:
        sender = request.get_response_sender()
        sender.send(response(1))
        sender.send()
        sender.send(response(2), flags=FINAL)

    engine = Engine(answer)
    with listening(engine):
        values = [arrays["output_ids"].item() for arrays in call(a=[1, 2]).responses()]
    assert values == [1, 2]
    (request,) = engine.requests
    assert (request.request_id(), request.parameters()) == ("one", '{"user": "x"}')
    assert request.requested_output_names() == ["output_ids"]
    (tensor,) = request.inputs()
    assert (tensor.name(), tensor.as_numpy().tolist()) == ("a", [[1, 2]])
    assert engine.gone == []


def test_an_error_keeps_its_class_and_words() -> None:
    def answer(request: Any) -> None:
        error = error_response(PlainBackend(), InvalidRequestError("top_p must be", hint="less"))
        request.get_response_sender().send(error, flags=FINAL)

    with listening(Engine(answer)), pytest.raises(InvalidRequestError, match="top_p must be; less"):
        list(call().responses())


def test_a_closed_call_ends_the_request_and_yields_nothing_more() -> None:
    engine = Engine()
    with listening(engine):
        asked = call()
        wait_until(lambda: engine.requests)
        threading.Timer(0.05, asked.close).start()
        assert list(asked.responses()) == []
        wait_until(lambda: engine.gone)
        sender = engine.requests[0].get_response_sender()
        assert engine.gone == [sender]
        assert sender.is_cancelled()
        sender.send(response(1), flags=FINAL)  # to nobody
        asked.close()


def test_many_at_once_are_answered_while_some_do_not_read() -> None:
    def answer(request: Any) -> None:
        request.get_response_sender().send(response(3, size=200_000), flags=FINAL)

    engine = Engine(answer)
    with listening(engine):
        idle = [call() for _ in range(20)]  # each waits to send 1.6 MB
        values: list[Any] = []

        def ask() -> None:
            values.extend(arrays["output_ids"].size for arrays in call().responses())

        threads = [threading.Thread(target=ask) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert values == [200_000] * 50
        for asked in idle:
            assert [arrays["output_ids"].size for arrays in asked.responses()] == [200_000]


def test_an_engine_that_ends_in_the_middle_is_an_error() -> None:
    engine = Engine(lambda request: request.get_response_sender().send(response(1)))
    with listening(engine) as listener:
        responses = call().responses()
        next(responses)
        listener.close()
        with pytest.raises(EngineStoppedError, match="the engine has stopped"):
            next(responses)
    with pytest.raises(EngineStoppedError, match="the engine takes no requests"):
        call()


def test_a_process_of_another_user_is_not_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    engine = Engine()
    with listening(engine), pytest.raises(EngineStoppedError):
        list(call().responses())
    assert engine.requests == []


def test_the_address_of_an_engine_that_ends_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "_WAIT_FOR_ADDRESS_S", 0.2)
    refusal = "cannot be bound: Address already in use"
    with listening(Engine()), pytest.raises(PlanError, match=refusal):
        Listener(ADDRESS, print, print)
    monkeypatch.setattr(listener_module, "_WAIT_FOR_ADDRESS_S", PATIENCE_S)
    taken = socket.socket(socket.AF_UNIX)
    taken.bind(ADDRESS)
    threading.Timer(0.2, taken.close).start()
    begun = time.monotonic()
    with listening(Engine()):
        assert time.monotonic() - begun >= 0.1


def test_servers_and_repositories_have_addresses_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = engine_address(tmp_path, "engine")
    assert own == engine_address(tmp_path / "." / ".." / tmp_path.name, "engine")
    others = {engine_address(tmp_path, "other"), engine_address(tmp_path.parent, "engine")}
    monkeypatch.setattr(os, "getppid", os.getpid)
    others.add(engine_address(tmp_path, "engine"))
    assert len({own, *others}) == 4
    assert all(name.startswith("\0llmasos-") and len(name) < 100 for name in {own, *others})
