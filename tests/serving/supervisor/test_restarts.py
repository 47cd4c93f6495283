"""`serve` with its gateway: what dies or is stopped is back soon, and clients are told to retry."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from llmasos_serving.triton.process_guard import SHARED_MEMORY
from patience import PATIENCE_S, wait_until
from raw_client import gauge
from served import Served

FOUND_WITHIN_S = 15.0
BACK_WITHIN_S = 30.0
"""On a busy machine; a quiet one takes a third of these."""


@pytest.fixture(scope="module")
def served(tiny_repository: Path) -> Iterator[Served]:
    served = Served(tiny_repository)
    try:
        yield served
        started = served.tree()
        served.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert served.process.wait(PATIENCE_S) == 0, served.text
        assert time.monotonic() - began < 30, "it drains for 10 s, and 2 are grace"
        _, alive = psutil.wait_procs(started, timeout=PATIENCE_S)
        assert not alive
        assert not list(SHARED_MEMORY.glob(f"llmasos-{served.process.pid}-*"))
    finally:
        served.close()


def test_a_killed_engine_ends_streams_with_an_error_and_the_server_is_back(served: Served) -> None:
    expected = served.answer()
    old = served.tree()
    gateway = served.one("gateway")
    with served.ask(stream=True, max_tokens=400) as stream:
        stream.readline()
        engine = served.one("engine")
        engine.suspend()  # so that the stream has not ended before
        began = time.monotonic()
        engine.kill()
        events = [line[6:] for line in stream.read().decode().splitlines() if line[:5] == "data:"]
    assert events[-1] == "[DONE]"
    error = json.loads(events[-2]).get("error")
    if error is not None:  # else all tokens had come
        assert error["type"] == "server_error"
        assert error["code"] == "engine_stopped"
    wait_until(lambda: served.answer() == expected)
    assert time.monotonic() - began < BACK_WITHIN_S
    assert gateway.is_running(), "it outlives the server"
    assert [p for p in old if p.is_running()] == [gateway]
    url = f"{served.url}/metrics"
    assert gauge(url, "nv_trt_llm_general_metrics", general_type="restart_counter") == 1


@pytest.mark.parametrize("stopped", ["gateway", "guard"])
def test_a_stopped_process_is_found_and_replaced(served: Served, stopped: str) -> None:
    expected = served.answer()
    began = time.monotonic()
    served.one(stopped).suspend()
    wait_until(lambda: served.said("was stopped by a signal", began))
    found = served.said("was stopped by a signal", began)
    assert found is not None
    assert found - began < FOUND_WITHIN_S
    wait_until(lambda: served.said("ready", began))
    assert served.answer() == expected, served.text
    ready = served.said("ready", began)
    assert ready is not None
    assert ready - found < BACK_WITHIN_S
