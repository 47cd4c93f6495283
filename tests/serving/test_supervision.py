"""A server that dies is noticed at once, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from llmasos.engine.plan import Task
from llmasos.errors import EngineStoppedError, ServerError
from llmasos.triton.triton_client import TritonClient
from llmasos_serving.triton import process_guard, processes, watchdog
from llmasos_serving.triton import server as server_module
from llmasos_serving.triton.canary_request import ask_for_a_token
from llmasos_serving.triton.launcher import ServerOptions, TritonServer
from llmasos_serving.triton.process_guard import SHARED_MEMORY
from llmasos_serving.triton.processes import model_processes, server_processes
from llmasos_serving.triton.run_directory import remove_leftovers
from patience import PATIENCE_S

OPTIONS = ServerOptions(grpc_port=0, http_port=0, metrics_port=0, canary_period_s=1000.0)
SERVE = """
import sys
from llmasos_serving.supervisor.foreground import serve
from llmasos_serving.triton.options import ServerOptions
sys.exit(serve(sys.argv[1], ServerOptions(grpc_port=0, http_port=0, metrics_port=0)))
"""


def regions(pid: int) -> list[str]:
    return sorted(path.name for path in SHARED_MEMORY.glob(f"llmasos-{pid}-*"))


def check_that_all_end(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE_S)
    left = [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]  # nobody reaps an orphan
    assert not left, [(p.cmdline(), p.status(), p.num_threads()) for p in left]


def python_models(repository: Path) -> set[str]:
    """The models of a repository that have a process of their own."""
    return {path.parent.parent.name for path in repository.glob("*/1/model.py")}


def test_stopping_leaves_no_process_and_no_shared_memory(tiny_repository: Path) -> None:
    before = regions(os.getpid())
    server = TritonServer(tiny_repository, OPTIONS)
    with server:
        tree = psutil.Process(server.pid)
        processes = [tree, *tree.children(recursive=True)]
        assert len(processes) == 1 + len(python_models(tiny_repository))
        assert len(regions(os.getpid())) > len(before)
    check_that_all_end(processes)
    assert regions(os.getpid()) == before


def test_a_server_without_classic_names_has_no_process_for_them(tiny_repository: Path) -> None:
    with TritonServer(tiny_repository, replace(OPTIONS, classic_names=False)) as server:
        models = {process.model for process in model_processes(server.pid)}
        assert models == {"engine", "tokenizer", "detokenizer"}
        with TritonClient(server.grpc_url, timeout_s=30) as client:
            assert client.generate_text("a", max_tokens=2)


def test_a_killed_engine_ends_the_answer_and_the_server(tiny_repository: Path) -> None:
    before = regions(os.getpid())
    with TritonServer(tiny_repository, OPTIONS) as server:
        (engine,) = (p for p in model_processes(server.pid) if p.model == "engine")
        with TritonClient(server.grpc_url, timeout_s=30) as client:
            begun = client.stream("a", max_tokens=400, ignore_eos=True)
            next(begun)
            engine.process.suspend()
            late = client.stream("a", max_tokens=400, ignore_eos=True)
            engine.process.kill()
            with pytest.raises(EngineStoppedError):
                list(late)
            with suppress(EngineStoppedError):  # unless all came before
                list(begun)
        # Now and then tritonserver 2.51 aborts when a model's process is killed.
        died = "the process of the model engine died|tritonserver ended with status 134"
        with pytest.raises(ServerError, match=died):
            server.wait()
        assert regions(os.getpid()) == before


@contextmanager
def serving(repository: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """`serve` in a process of its own, and what it started; at the end nothing may be left."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(repository)], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            said = list(iter_until(process.stderr, "ready in"))
            assert process.poll() is None, said
            started = psutil.Process(process.pid).children(recursive=True)
            yield process, started
            check_that_all_end(started)
            assert not regions(process.pid)
        finally:
            process.kill()


def iter_until(lines: Iterable[str], words: str) -> Iterator[str]:
    """The lines up to that which begins with these words."""
    for line in lines:
        yield line
        if line.startswith(words):
            return


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_stops_cleanly_on_a_signal(tiny_repository: Path, number: signal.Signals) -> None:
    with serving(tiny_repository) as (process, _):
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
        assert "stopping" in said


def test_serve_says_that_its_engine_died_and_fails(tiny_repository: Path) -> None:
    with serving(tiny_repository) as (process, started):
        (engine,) = (p for p in started if "engine/1/model.py" in " ".join(p.cmdline()))
        engine.kill()
        _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 1
        assert (
            "error: the process of the model engine died" in said
            or "error: tritonserver ended with status 134" in said
        )


def test_a_killed_launcher_takes_everything_with_it(tiny_repository: Path) -> None:
    with serving(tiny_repository) as (process, started):
        process.kill()
        server_and_guard = 2
        assert len(started) == server_and_guard + len(python_models(tiny_repository))


def test_a_killed_guard_ends_the_server_and_leaves_nothing(tiny_repository: Path) -> None:
    with serving(tiny_repository) as (process, started):
        (guard,) = (p for p in started if str(process_guard.__file__) in p.cmdline())
        guard.kill()
        _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 1
        assert "error: tritonserver ended with status 137" in said


def test_what_is_left_when_all_are_killed_goes_with_the_next_start(tiny_repository: Path) -> None:
    with serving(tiny_repository) as (process, started):
        (guard,) = (p for p in started if str(process_guard.__file__) in p.cmdline())
        process.send_signal(signal.SIGSTOP)  # or it would clean up
        guard.kill()
        process.kill()
        psutil.wait_procs(started, timeout=5)  # one that waits for Triton's answer stays
        remove_leftovers()
        check_that_all_end(started)


def test_a_process_that_outlived_its_server_goes_with_the_next_start(
    tiny_repository: Path,
) -> None:
    with serving(tiny_repository) as (process, started):
        (guard,) = (p for p in started if str(process_guard.__file__) in p.cmdline())
        (engine,) = (p for p in started if "engine/1/model.py" in " ".join(p.cmdline()))
        engine.suspend()  # as one that waits for ever
        process.send_signal(signal.SIGSTOP)
        guard.kill()
        process.kill()
        psutil.wait_procs([p for p in started if p != engine], timeout=PATIENCE_S)
        assert engine.is_running()
        remove_leftovers()
        check_that_all_end(started)


@pytest.mark.parametrize("model", ["engine", "tokenizer", ""])
def test_a_process_that_a_signal_stopped_ends_the_server_soon(
    tiny_repository: Path, model: str
) -> None:
    with TritonServer(tiny_repository, OPTIONS) as server:
        (stopped,) = (p for p in server_processes(server.pid) if p.model == model)
        stopped.process.suspend()
        with pytest.raises(ServerError, match=f"{stopped.name} was stopped by a signal"):
            server.wait()


def test_a_server_that_does_nothing_for_a_canary_is_ended(
    tiny_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_stuck = threading.Event()

    def get_stuck(client: TritonClient, task: Task) -> None:
        if threading.current_thread().name == "canary":
            is_stuck.wait(PATIENCE_S)
        ask(client, task)

    ask = ask_for_a_token
    monkeypatch.setattr(server_module, "ask_for_a_token", get_stuck)
    monkeypatch.setattr(watchdog, "_IDLE_SPELLS", 2)
    with TritonServer(tiny_repository, replace(OPTIONS, canary_period_s=0.1)) as server:
        with pytest.raises(ServerError, match="takes no steps and uses no processor"):
            server.wait()
        is_stuck.set()


def test_a_repository_that_does_not_load_says_what_is_wrong_in_it(
    tiny_repository: Path, tmp_path: Path
) -> None:
    before = regions(os.getpid())
    broken = shutil.copytree(tiny_repository, tmp_path / "broken")
    config = broken / "detokenizer" / "config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size: ", "max_batch_size: {"))
    with pytest.raises(ServerError) as caught, TritonServer(broken, OPTIONS):
        pass
    assert re.fullmatch(
        rf"{re.escape(str(config))}, line \d+, column \d+: Expected integer, got: .*",
        str(caught.value),
    )
    assert regions(os.getpid()) == before


def test_a_models_process_that_ends_before_it_speaks_ends_the_start(
    tiny_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton waits for its first word for ever."""
    broken = shutil.copytree(tiny_repository, tmp_path / "broken")
    stub = broken / "tokenizer" / "triton_python_backend_stub"  # goes before the backend's own
    stub.write_text("#!/bin/sh\nexit 1\n")
    stub.chmod(0o755)
    monkeypatch.setattr(processes, "_TRITON_SAYS_SO_WITHIN_S", 0.5)
    with pytest.raises(ServerError) as caught, TritonServer(broken, OPTIONS):
        pass
    assert str(caught.value).startswith("a process of a model ended while it was loaded: ")
