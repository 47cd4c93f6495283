"""The demo for real: a checkpoint is built, served by Triton and asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

LLMASOS = str(Path(sys.executable).with_name("llmasos"))
TIMEOUT_S = 240.0
StartDemo = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def start_demo(cache: Path) -> Iterator[StartDemo]:
    """Starts demos. No process and no shared memory may outlive one, whichever way it ends."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        demo = subprocess.Popen(
            [LLMASOS, "demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "LLMASOS_CACHE": str(cache)},
        )
        started.append(demo)
        return demo

    yield start
    for demo in started:
        with demo:  # closes its pipes
            demo.kill()
    for demo in started:
        assert not list(Path("/dev/shm").glob(f"llmasos-{demo.pid}-*"))
        assert not server_processes(demo)


def server_processes(demo: subprocess.Popen[str]) -> list[psutil.Process]:
    """What runs for a demo's server, whoever its parent is: all are told of its shared memory."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            if any(f"llmasos-{demo.pid}-" in argument for argument in process.cmdline()):
                found.append(process)
    return found


def test_the_demo_answers_from_the_repository_it_is_given(
    smollm2_repository: Path, start_demo: StartDemo
) -> None:
    demo = start_demo("Which city is the capital of France?", "--model", str(smollm2_repository))
    stdout, stderr = demo.communicate(timeout=TIMEOUT_S)
    assert demo.returncode == 0, stderr
    assert "Paris" in stdout
    assert "time to first token" in stderr
    assert "tokens/s" in stderr


def test_the_demo_builds_a_checkpoint_once(
    tiny_llama: Path, cache: Path, start_demo: StartDemo
) -> None:
    for _ in range(2):
        demo = start_demo(
            "Hi", "--model", str(tiny_llama), "--max-tokens", "8", "--precision", "f32"
        )
        _, stderr = demo.communicate(timeout=TIMEOUT_S)
        assert demo.returncode == 0, stderr
    assert len([p for p in (cache / "engines").iterdir() if not p.name.startswith(".")]) == 1


def engine_process(demo: subprocess.Popen[str]) -> psutil.Process:
    """The Python process in which Triton runs the model `engine`."""
    for process in psutil.Process(demo.pid).children(recursive=True):
        if any("/engine/1/model.py" in argument for argument in process.cmdline()):
            return process
    raise AssertionError("the demo has no engine process")


def test_the_demo_fails_with_an_error_when_its_engine_is_killed(
    smollm2_repository: Path, start_demo: StartDemo
) -> None:
    question = "Tell me a very long story about the sea."
    demo = start_demo(question, "--model", str(smollm2_repository), "--max-tokens", "4000")
    assert demo.stdout is not None
    assert demo.stdout.read(8)
    assert len(server_processes(demo)) >= 4
    engine_process(demo).kill()
    _, stderr = demo.communicate(timeout=TIMEOUT_S)
    assert demo.returncode == 1
    assert stderr.splitlines()[-1].startswith("error: ")
    assert "engine" in stderr.splitlines()[-1] or "ended with status" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr
