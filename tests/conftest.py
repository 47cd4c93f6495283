"""Checkpoints and built repositories that several tests share, each made once a session."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import settings
from tiny import write_tiny_llama
from tqdm import tqdm  # type: ignore[import-untyped]  # has no stubs

PLAN = Path("engine", "1", "plan")

# The same examples in every run, and no limit of time for one: what is red was made red by a
# change. `--hypothesis-profile default` looks for new ones.
settings.load_profile("ci")

# Else a thread of progress bars watches them, and its warning of a race makes any test red.
tqdm.monitor_interval = 0


@pytest.fixture(scope="session")
def smollm2_checkpoint() -> str:
    """The name of the real checkpoint; opening it downloads 93 MB once into the user's cache."""
    return "smollm2-135m-instruct"


@pytest.fixture(scope="session")
def smollm2_repository(smollm2_checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Triton model repository of SmolLM2-135M-Instruct in int8; do not write into it."""
    from llmasos_builder.build import BuildOptions, build

    output = tmp_path_factory.mktemp("smollm2") / "repository"
    return build(smollm2_checkpoint, output, BuildOptions(precision="int8"))


@pytest.fixture(scope="session")
def smollm2_plan(smollm2_repository: Path) -> Path:
    """The engine plan inside `smollm2_repository`."""
    return smollm2_repository / PLAN


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama checkpoint with a byte-level tokenizer; do not write into it."""
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny-llama")


@pytest.fixture(scope="session")
def tiny_repository(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Triton model repository of `tiny_llama` in f32; do not write into it."""
    from llmasos_builder.build import BuildOptions, build

    output = tmp_path_factory.mktemp("tiny") / "repository"
    return build(str(tiny_llama), output, BuildOptions(precision="f32"))


@pytest.fixture(scope="session")
def tiny_plan(tiny_repository: Path) -> Path:
    """The engine plan inside `tiny_repository`."""
    return tiny_repository / PLAN


@pytest.fixture
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes a while, so that a long answer does not end before a test can leave it."""
    from llmasos_runtime.openvino.openvino_runner import OpenVINORunner
    from llmasos_runtime.sampling.scores import Logits

    wait = OpenVINORunner.wait

    def wait_longer(runner: OpenVINORunner) -> Logits:
        time.sleep(0.02)
        return wait(runner)

    monkeypatch.setattr(OpenVINORunner, "wait", wait_longer)
