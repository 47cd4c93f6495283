"""Markers, and checkpoints and built repositories that several tests share, each made once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from made_once import made_once
from markers import MARKED, markers_of
from tiny import write_tiny_llama
from tqdm import tqdm  # type: ignore[import-untyped]  # has no stubs

if TYPE_CHECKING:
    from llmasos_serving.triton.launcher import TritonServer

TESTS = Path(__file__).parent
PLAN = Path("engine", "1", "plan")

# The same examples in every run, and no limit of time for one: what is red was made red by a
# change. `--hypothesis-profile default` looks for new ones.
settings.load_profile("ci")

# Else a thread of progress bars watches them, and its warning of a race makes any test red.
tqdm.monitor_interval = 0


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files whose tests are all left out are not read: some import torch, which takes seconds."""
    wanted = str(config.option.markexpr)
    left_out = {path for marker in MARKED if f"not {marker}" in wanted for path in MARKED[marker]}
    return True if collection_path.relative_to(TESTS).as_posix() in left_out else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        path = item.path.relative_to(TESTS).as_posix()
        for marker in markers_of(path, getattr(item, "fixturenames", [])):
            item.add_marker(marker)


@pytest.fixture(scope="session")
def smollm2_checkpoint() -> str:
    """The name of the real checkpoint; opening it downloads 93 MB once into the user's cache."""
    return "smollm2-135m-instruct"


@pytest.fixture(scope="session")
def minilm_checkpoint() -> str:
    """The name of a real embedder; opening it downloads 84 MB once into the user's cache."""
    return "all-minilm-l6-v2"


@pytest.fixture(scope="session")
def smollm2_repository(smollm2_checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Triton model repository of SmolLM2-135M-Instruct in int8; do not write into it."""
    from llmasos_builder.build import BuildOptions, build

    options = BuildOptions(precision="int8")
    return made_once(
        tmp_path_factory,
        "smollm2/repository",
        lambda path: build(smollm2_checkpoint, path, options),
    )


@pytest.fixture(scope="session")
def smollm2_plan(smollm2_repository: Path) -> Path:
    """The engine plan inside `smollm2_repository`."""
    return smollm2_repository / PLAN


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama checkpoint with a byte-level tokenizer; do not write into it."""
    return made_once(tmp_path_factory, "tiny/tiny-llama", write_tiny_llama)


@pytest.fixture(scope="session")
def tiny_repository(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Triton model repository of `tiny_llama` in f32; do not write into it."""
    from llmasos_builder.build import BuildOptions, build

    options = BuildOptions(precision="f32")
    return made_once(
        tmp_path_factory, "tiny/repository", lambda path: build(str(tiny_llama), path, options)
    )


@pytest.fixture(scope="session")
def classic_server(tiny_repository: Path) -> Iterator[TritonServer]:
    """A server of `tiny_repository` for tests that leave it as it is."""
    from llmasos_serving.triton.launcher import ServerOptions, TritonServer

    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0, canary_period_s=1000.0)
    with TritonServer(tiny_repository, options) as server:
        yield server
        server.stop(drain=False)


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
