"""Triton's `engine` model over TensorRT-LLM: the same tensors, cancellation and gauges."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fake_tensorrt_llm
import numpy as np
import pytest
from fake_backend import FakeBackend, FakeMetricFamily, FakeRequest, tensor
from llmasos.errors import PlanError
from llmasos_builder.build import BuildOptions, build
from llmasos_runtime.load import load_engine
from llmasos_runtime.triton.engine_model import EngineModel
from llmasos_runtime.triton.engine_options import engine_options
from llmasos_runtime.triton.model_arguments import ModelArguments
from llmasos_serving.triton.server import TritonServer
from patience import PATIENCE_S, wait_until

OUTPUTS = ("output_ids", "finish_reason", "num_output_tokens", "kv_cache_reused_blocks")


@pytest.fixture(scope="module")
def repository(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trtllm") / "repository"
    return build(tiny_llama, output, BuildOptions(target="tensorrt-llm", precision="f32"))


@pytest.fixture
def died() -> threading.Event:
    return threading.Event()


@pytest.fixture
def model(
    repository: Path, died: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EngineModel]:
    monkeypatch.setitem(sys.modules, "tensorrt_llm", fake_tensorrt_llm.module())
    parameters = {"gpt_model_path": {"string_value": "plan"}}
    arguments = ModelArguments.of(
        {
            "model_config": json.dumps({"parameters": parameters}),
            "model_repository": str(repository / "engine"),
            "model_version": "1",
        }
    )
    arguments = arguments.overridden({"LLMASOS_ENGINE_MAX_BATCH_SIZE": "3"})
    engine = load_engine(arguments.path("gpt_model_path"), engine_options(arguments))
    FakeMetricFamily.values.clear()
    model = EngineModel(
        FakeBackend, engine, check_period_s=0.01, default_deadline_ms=60_000, die=died.set
    )
    yield model
    model.close()


def ask(model: EngineModel, **inputs: object) -> FakeRequest:
    values = {"input_ids": [5, 6, 7], "input_lengths": 3, "request_output_len": 4, **inputs}
    request = FakeRequest({n: tensor(v) for n, v in values.items()}, outputs=OUTPUTS)
    model.execute([request])
    return request


def test_a_stream_has_the_classic_outputs(model: EngineModel) -> None:
    sender = ask(model, streaming=True).sender
    assert sender.final.wait(PATIENCE_S)
    pieces = [r.values["output_ids"] for r in sender.responses]  # gathered where Triton is slow
    assert all(piece.shape[:2] == (1, 1) for piece in pieces)
    assert np.concatenate(pieces, axis=2).tolist() == [[[8, 9, 10, 11]]]
    last = sender.responses[-1].values
    assert last["finish_reason"].tolist() == [[b"length"]]
    assert last["num_output_tokens"].tolist() == [[4]]


def test_reused_blocks_are_counted_in_the_librarys_own(model: EngineModel) -> None:
    fake_tensorrt_llm.LLMS[-1].cached_tokens = 64
    sender = ask(model).sender
    assert sender.final.wait(PATIENCE_S)
    (response,) = sender.responses
    assert response.values["kv_cache_reused_blocks"].tolist() == [[2]]


def test_a_client_that_has_gone_ends_its_request_in_the_library(model: EngineModel) -> None:
    llm = fake_tensorrt_llm.LLMS[-1]
    llm.pause()
    sender = ask(model, streaming=True, request_output_len=400, end_id=-1).sender
    wait_until(lambda: llm.results)
    (result,) = llm.results
    sender.cancelled = True
    assert sender.final.wait(PATIENCE_S)
    assert result.is_aborted
    assert sender.responses[-1].values["finish_reason"].tolist() == [[b"abort"]]


def test_what_the_library_lacks_is_an_error_that_names_the_field(model: EngineModel) -> None:
    sender = ask(model, min_tokens=3, stop_words_list=np.array([[9], [1]], np.int32)).sender
    assert sender.final.wait(PATIENCE_S)
    assert "min_tokens with one end token" in sender.error().message
    assert sender.error().code == "invalid argument"


def test_the_gauges_show_the_librarys_numbers(model: EngineModel) -> None:
    assert ask(model).sender.final.wait(PATIENCE_S)
    blocks = "nv_trt_llm_kv_cache_block_metrics"
    expected = {
        f"{blocks} max": 100,
        f"{blocks} free": 60,
        f"{blocks} used": 40,
        "nv_trt_llm_request_metrics active": 0,
    }
    wait_until(lambda: expected.items() <= FakeMetricFamily.values.items())


def test_a_library_that_stops_ends_the_process(model: EngineModel, died: threading.Event) -> None:
    fake_tensorrt_llm.LLMS[-1].refuses = RuntimeError("a worker died")
    sender = ask(model).sender
    assert sender.final.wait(PATIENCE_S)
    assert "a worker died" in sender.error().message
    assert died.wait(PATIENCE_S)


def test_a_server_without_the_package_is_refused_before_it_starts(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_llm", None)
    with pytest.raises(PlanError, match=r"pip install 'llmasos\[tensorrt-llm\]'"):
        TritonServer(repository).start()
