"""CUDA graphs of decode, and kernels that are kept on disk."""

from __future__ import annotations

import gc
import logging
import os
from pathlib import Path

import pytest
from fake_tensorrt import FakeCache
from llmasos.errors import PlanError
from llmasos_runtime.tensorrt import decode_graphs, runtime_cache
from llmasos_runtime.tensorrt.runtime_cache import FILE, place
from made_engine import ask
from made_trt_engine import MadeGPU


@pytest.fixture
def gpu(tiny_llama: Path, tmp_path: Path) -> MadeGPU:
    return MadeGPU(tiny_llama, tmp_path / "plan", max_batch_size=6)


def run(gpu: MadeGPU, *, num_requests: int = 8) -> list[list[int]]:
    engine = gpu.engine()
    sinks = [
        ask(
            engine,
            tuple(range(seed + 1, 4 * seed + 3)),
            request_id=str(seed),
            max_tokens=5 + 3 * (seed % 4),
            ignore_eos=True,
        )
        for seed in range(num_requests)
    ]
    tokens = [sink.token_ids for sink in sinks]
    engine.close()
    assert gpu.cuda.live() == []
    return tokens


def test_replayed_steps_give_what_uncaptured_ones_give(
    gpu: MadeGPU, caplog: pytest.LogCaptureFixture
) -> None:
    with_graphs = run(gpu)
    launches = gpu.cuda.calls.count("cudaGraphLaunch")
    assert launches >= 10, "graphs were hardly used"
    gpu.library.refuses_capture = True
    with caplog.at_level(logging.WARNING):
        assert run(gpu) == with_graphs
    assert gpu.cuda.calls.count("cudaGraphLaunch") == launches
    warnings = [r for r in caplog.records if "without CUDA graphs" in r.message]
    assert len(warnings) == 1, "once is enough"


def test_a_graph_that_cannot_be_made_is_done_without(
    gpu: MadeGPU, caplog: pytest.LogCaptureFixture
) -> None:
    expected = run(gpu)
    assert "cudaGetLastError" not in gpu.cuda.calls
    gpu.cuda.fails["cudaGraphInstantiate"] = gpu.cuda.cudaError_t.cudaErrorNotSupported
    with caplog.at_level(logging.WARNING):
        assert run(gpu) == expected
    assert "cudaGetLastError" in gpu.cuda.calls, "the error was left for TensorRT to find"
    assert "cudaGraphInstantiate fails: cudaErrorNotSupported" in caplog.text


def test_without_memory_for_another_context_decode_goes_on(
    gpu: MadeGPU, caplog: pytest.LogCaptureFixture
) -> None:
    expected = run(gpu)
    gpu.library.most_contexts = len(gpu.library.contexts) + 3  # prefill, decode and one graph
    with caplog.at_level(logging.WARNING):
        assert run(gpu) == expected
    assert "without CUDA graphs: TensorRT cannot make a context" in caplog.text


def test_few_graphs_are_kept_and_each_is_captured_after_a_run(
    gpu: MadeGPU, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(gpu)
    captured = gpu.cuda.calls.count("cudaStreamBeginCapture")
    monkeypatch.setattr(decode_graphs, "MAX_GRAPHS", 1)
    assert run(gpu) == expected
    again = gpu.cuda.calls.count("cudaStreamBeginCapture") - captured
    assert again >= captured, "with one graph at a time, some are captured again"
    assert all(context.num_enqueued != 1 for context in gpu.library.contexts if context.kernels)


def test_decode_is_compiled_before_it_runs_and_prefill_beside_it(gpu: MadeGPU) -> None:
    run(gpu, num_requests=1)
    kinds = [context.kernels.name for context in gpu.library.contexts]
    assert kinds[0] == "LAZY" and set(kinds[1:]) == {"EAGER"}


def test_each_context_has_a_configuration_of_its_own_and_all_share_the_kernels(
    gpu: MadeGPU,
) -> None:
    run(gpu, num_requests=3)
    configs = [context.config for context in gpu.library.contexts if context.config is not None]
    assert len(configs) == len(gpu.library.contexts) > 2
    assert len({id(config) for config in configs}) == len(configs)
    assert len({id(config.cache) for config in configs}) == 1
    kinds = [c.dynamic_shapes_kernel_specialization_strategy.name for c in configs]
    assert kinds == ["LAZY"] + ["EAGER"] * (len(kinds) - 1), "as when the context was made"


def test_a_dropped_runner_frees_its_memory(gpu: MadeGPU) -> None:
    runner = gpu.runner()
    assert gpu.cuda.live()
    del runner
    gc.collect()
    assert gpu.cuda.live() == []


def test_kernels_are_kept_beside_the_plan_and_read_at_the_next_start(gpu: MadeGPU) -> None:
    run(gpu, num_requests=1)
    assert (gpu.directory / FILE).read_bytes() == b"kernels"
    assert gpu.library.cache_blobs == []
    run(gpu, num_requests=1)
    assert gpu.library.cache_blobs == [b"kernels"]
    assert sorted(path.name for path in gpu.directory.iterdir()) == [FILE, "engine.trt"]


def test_kernels_of_another_version_are_written_anew(gpu: MadeGPU) -> None:
    (gpu.directory / FILE).write_bytes(b"old")
    run(gpu, num_requests=1)
    assert (gpu.directory / FILE).read_bytes() == b"kernels"


def test_kernels_of_a_plan_that_cannot_be_written_go_to_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMASOS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert place(tmp_path / "plan").is_relative_to(tmp_path / "cache")
    assert place(tmp_path / "plan") != place(tmp_path / "other")


def test_a_disk_that_cannot_be_written_is_a_warning(
    gpu: MadeGPU, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = gpu.directory / "engine.trt" / FILE
    monkeypatch.setattr(runtime_cache, "place", lambda _: nowhere)
    run(gpu, num_requests=1)
    assert "cannot be written" in caplog.text


def test_kernels_that_tensorrt_does_not_give_are_a_warning(
    gpu: MadeGPU, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(FakeCache, "serialize", lambda _: None)
    run(gpu, num_requests=1)
    assert "TensorRT does not give its compiled kernels" in caplog.text
    assert not (gpu.directory / FILE).exists()


def test_a_slot_that_tensorrt_cannot_address_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    """33 tokens of 2 heads of 16 numbers of 4 bytes are no multiple of 256 bytes."""
    odd = MadeGPU(tiny_llama, tmp_path, max_seq_len=33)
    with pytest.raises(PlanError, match=r"max_seq_len 33 makes a slot .* 4224 bytes, .* of 256"):
        odd.engine()
    assert odd.cuda.live() == []
