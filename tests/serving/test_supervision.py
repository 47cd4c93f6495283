"""A server that dies is noticed at once, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from llmasos.errors import (
    DeadlineExceededError,
    EngineStoppedError,
    LLMasOSError,
    RequestTimeoutError,
    ServerError,
)
from llmasos.triton_client import TritonClient
from llmasos_runtime.triton import server as server_module
from llmasos_runtime.triton.keeper import SHARED_MEMORY
from llmasos_runtime.triton.launcher import ServerOptions, TritonServer
from llmasos_runtime.triton.processes import model_processes
from llmasos_runtime.triton.server import num_steps

OPTIONS = ServerOptions(grpc_port=0, http_port=0, metrics_port=0)
SERVE = """
import sys
from llmasos_runtime.triton.launcher import ServerOptions, serve
sys.exit(serve(sys.argv[1], ServerOptions(grpc_port=0, http_port=0, metrics_port=0)))
"""


def regions(pid: int) -> list[str]:
    return [path.name for path in SHARED_MEMORY.glob(f"llmasos-{pid}-*")]


def all_end(processes: list[psutil.Process], timeout_s: float = 10.0) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    return not alive


def test_stopping_leaves_no_process_and_no_shared_memory(tiny_repository: Path) -> None:
    before = regions(os.getpid())
    server = TritonServer(tiny_repository, OPTIONS)
    with server:
        tree = psutil.Process(server.pid)
        processes = [tree, *tree.children(recursive=True)]
        assert len(processes) == 4
        assert len(regions(os.getpid())) > len(before)
    assert all_end(processes)
    assert regions(os.getpid()) == before


def test_a_killed_engine_ends_the_answer_and_the_server(tiny_repository: Path) -> None:
    before = regions(os.getpid())
    with TritonServer(tiny_repository, OPTIONS) as server:
        (engine,) = (p for p in model_processes(server.pid) if p.model == "engine")
        with TritonClient(server.grpc_url, timeout_s=30) as client:
            stream = client.stream("a", max_tokens=400, ignore_eos=True)
            next(stream)
            engine.process.kill()
            killed_at = time.monotonic()
            with pytest.raises(LLMasOSError) as caught:
                list(stream)
            assert isinstance(caught.value, EngineStoppedError)
            assert time.monotonic() - killed_at < 2.0
        # Now and then tritonserver 2.51 aborts when a model's process is killed.
        died = "the process of the model engine died|tritonserver ended with status 134"
        with pytest.raises(ServerError, match=died):
            server.wait()
        assert regions(os.getpid()) == before


def start_serving(repository: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    serving = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(repository)], stderr=subprocess.PIPE, text=True
    )
    assert serving.stderr is not None
    for line in serving.stderr:
        if line.startswith("ready in"):
            return serving, psutil.Process(serving.pid).children(recursive=True)
    raise AssertionError(f"serve ended with {serving.wait()}")


def read_rest(serving: subprocess.Popen[str]) -> str:
    assert serving.stderr is not None
    with serving.stderr as stream:
        return stream.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_stops_cleanly_on_a_signal(tiny_repository: Path, number: signal.Signals) -> None:
    serving, processes = start_serving(tiny_repository)
    serving.send_signal(number)
    assert serving.wait(20) == 0
    assert "stopping" in read_rest(serving)
    assert all_end(processes)
    assert not regions(serving.pid)


def test_serve_says_that_its_engine_died_and_fails(tiny_repository: Path) -> None:
    serving, processes = start_serving(tiny_repository)
    (engine,) = (p for p in processes if "engine/1/model.py" in " ".join(p.cmdline()))
    engine.kill()
    assert serving.wait(10) == 1
    said = read_rest(serving)
    assert (
        "error: the process of the model engine died" in said
        or "error: tritonserver ended with status 134" in said
    )
    assert all_end(processes)
    assert not regions(serving.pid)


def test_a_killed_launcher_takes_everything_with_it(tiny_repository: Path) -> None:
    serving, processes = start_serving(tiny_repository)
    serving.kill()
    serving.wait()
    read_rest(serving)
    assert all_end(processes, 15)
    assert not regions(serving.pid)


def test_a_canary_that_waits_behind_others_does_not_kill_the_server(
    tiny_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_out(client: TritonClient) -> None:
        raise RequestTimeoutError("no whole answer within 60 s")

    def be_too_late(client: TritonClient) -> None:
        raise DeadlineExceededError("deadline_ms of 5000 passed before the answer was whole")

    with TritonServer(tiny_repository, OPTIONS) as server:
        monkeypatch.setattr(server_module, "ask_for_a_token", be_too_late)
        assert server._unanswered() is None
        monkeypatch.setattr(server_module, "ask_for_a_token", time_out)
        monkeypatch.setattr(server_module, "num_steps", lambda url: time.monotonic())
        assert server._unanswered() is None
        monkeypatch.setattr(server_module, "num_steps", lambda url: 7.0)
        assert "does not answer" in str(server._unanswered())


def test_the_metrics_say_how_many_steps_were_taken(tiny_repository: Path) -> None:
    with TritonServer(tiny_repository, OPTIONS) as server:
        with TritonClient(server.grpc_url, timeout_s=30) as client:
            client.generate_text("abc", max_tokens=20, ignore_eos=True)
        ends_at = time.monotonic() + 10
        while (num_steps(server.metrics_url) or 0) < 20:
            assert time.monotonic() < ends_at, "the steps are not shown"
            time.sleep(0.1)
        url = server.metrics_url
    assert num_steps(url) is None


def test_a_server_that_takes_no_steps_and_does_not_answer_is_ended(
    tiny_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_CANARY_TIMEOUT_S", 1.0)
    with TritonServer(tiny_repository, replace(OPTIONS, canary_period_s=0.1)) as server:
        (engine,) = (p for p in model_processes(server.pid) if p.model == "engine")
        engine.process.suspend()
        with pytest.raises(ServerError, match="does not answer"):
            server.wait()
