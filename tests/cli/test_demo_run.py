"""The demo for real: a checkpoint is built, served by Triton and asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

LLMASOS = str(Path(sys.executable).with_name("llmasos"))


def start_demo(*arguments: str, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [LLMASOS, "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LLMASOS_CACHE": str(cache)},
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def nothing_stays_behind() -> Iterator[None]:
    """No process and no shared memory may outlive a demo, whichever way it ends."""
    before = set(Path("/dev/shm").iterdir())
    yield
    assert not psutil.Process().children(recursive=True)
    assert not {path for path in set(Path("/dev/shm").iterdir()) - before if path.exists()}


def test_the_demo_answers_from_the_repository_it_is_given(
    smollm2_repository: Path, cache: Path
) -> None:
    demo = start_demo(
        "What is the capital of France?", "--model", str(smollm2_repository), cache=cache
    )
    stdout, stderr = demo.communicate(timeout=120)
    assert demo.returncode == 0, stderr
    assert "Paris" in stdout
    assert "time to first token" in stderr
    assert "tokens/s" in stderr


def test_the_demo_builds_a_checkpoint_once(tiny_llama: Path, cache: Path) -> None:
    for _ in range(2):
        demo = start_demo(
            "Hi", "--model", str(tiny_llama), "--max-tokens", "8", "--precision", "f32", cache=cache
        )
        _, stderr = demo.communicate(timeout=120)
        assert demo.returncode == 0, stderr
    assert len([p for p in (cache / "engines").iterdir() if not p.name.startswith(".")]) == 1


def engine_process(demo: subprocess.Popen[str]) -> psutil.Process:
    """The Python process in which Triton runs the model `engine`."""
    for process in psutil.Process(demo.pid).children(recursive=True):
        if any("/engine/1/model.py" in argument for argument in process.cmdline()):
            return process
    raise AssertionError("the demo has no engine process")


def test_the_demo_fails_with_an_error_when_its_engine_is_killed(
    smollm2_repository: Path, cache: Path
) -> None:
    question = "Tell me a very long story about the sea."
    demo = start_demo(
        question, "--model", str(smollm2_repository), "--max-tokens", "4000", cache=cache
    )
    assert demo.stdout is not None
    assert demo.stdout.read(8)
    engine_process(demo).kill()
    killed = time.monotonic()
    _, stderr = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert time.monotonic() - killed < 20
    assert stderr.splitlines()[-1].startswith("error: ")
    assert "engine" in stderr.splitlines()[-1] or "ended with status" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr
