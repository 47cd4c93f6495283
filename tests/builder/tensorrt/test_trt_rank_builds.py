"""`llmasos build --tp N --pp M`: engines that compile, the plan of them, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llmasos.engine.plan import PLAN_FILE, EnginePlan
from llmasos.errors import InvalidRequestError, PlanError
from llmasos_app.cli.app import app
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_builder.graph import Array
from llmasos_builder.tensorrt.compile import define_network, serialize
from llmasos_builder.tensorrt.library import load_library
from llmasos_builder.tensorrt.options import NetworkOptions
from llmasos_builder.tensorrt.parallel.rank import Rank, all_ranks, check_fused
from made_trt import LLAMA
from typer.testing import CliRunner

EIGHT_HEADS = {**LLAMA, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 16}


def options(**changes: Any) -> BuildOptions:
    fields: dict[str, Any] = {
        "target": "tensorrt",
        "precision": "f32",
        "gpus": ("sm89",),
        "max_seq_len": 64,
        "max_batch_size": 2,
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 2,
    }
    return BuildOptions(**fields | changes)


def serialized(config: dict[str, Any], rank: Rank, gpu: str = "sm89") -> int:
    """The bytes of a rank's engine in fp16."""
    rng = np.random.default_rng(0)

    def load(_name: str, shape: tuple[int, ...]) -> Array:
        return rng.normal(0, 0.1, shape).astype(np.float32)

    sizes = NetworkOptions(precision="fp16", max_batch_size=8, max_seq_len=64, prefill_length=16)
    spec, library = decoder_spec(config), load_library()
    graph = define_network(spec, load, library=library, options=sizes, rank=rank)
    return len(serialize(graph, [gpu]))


@pytest.fixture(scope="module")
def plan_dir(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """f32, since two heads, what a part of the tiny network has, have no fused attention."""
    directory = tmp_path_factory.mktemp("ranks") / "plan"
    build_plan(tiny_llama, directory, options())
    return directory


def test_progress_counts_what_each_rank_reads_and_its_compilation(
    tiny_llama: Path, tmp_path: Path
) -> None:
    """A tied embedding is read by the first stage and by the last."""
    told: list[tuple[int, int]] = []

    def note(stage: str, done: int, total: int) -> None:
        if stage == "compile":
            told.append((done, total))

    build_plan(tiny_llama, tmp_path / "plan", options(tensor_parallel_size=1), note)
    (total,) = {total for _, total in told}
    assert [done for done, _ in told] == list(range(total + 1))


@pytest.mark.parametrize("rank", all_ranks(2, 2), ids=str)
def test_engines_of_all_ranks_compile_with_fused_attention(rank: Rank) -> None:
    assert serialized(EIGHT_HEADS, rank) > 100_000


def test_engines_with_fewer_heads_than_are_needed_do_not_compile() -> None:
    """Which is why such a cut is refused before it is tried."""
    assert serialized(EIGHT_HEADS, Rank(parts=2)) > 100_000
    with pytest.raises(PlanError, match="Attention operation was not supported"):
        serialized(EIGHT_HEADS, Rank(parts=4))
    spec = decoder_spec(EIGHT_HEADS)
    check_fused(spec, tensor_parallel_size=2)
    problem = "tensor_parallel_size 4 leaves 2 of 8 attention heads to each GPU, .* at least 4"
    with pytest.raises(InvalidRequestError, match=problem):
        check_fused(spec, tensor_parallel_size=4)


def test_a_plan_lists_an_engine_for_each_rank(plan_dir: Path) -> None:
    plan = EnginePlan.load(plan_dir)
    record = plan.tensorrt
    assert record is not None
    assert (record.tensor_parallel_size, record.pipeline_parallel_size) == (2, 2)
    assert record.num_ranks == 4
    assert record.engine_files == tuple(f"engine.rank{rank}.trt" for rank in range(4))
    assert {name for name in plan.files if name.endswith(".trt")} == set(record.engine_files)


def test_a_plan_that_says_nothing_of_ranks_has_one(plan_dir: Path, tmp_path: Path) -> None:
    written = json.loads((plan_dir / PLAN_FILE).read_text())
    for field in ("tensor_parallel_size", "pipeline_parallel_size"):
        del written["tensorrt"][field]
    (tmp_path / PLAN_FILE).write_text(json.dumps(written))
    record = EnginePlan.read(tmp_path).tensorrt
    assert record is not None
    assert (record.num_ranks, record.engine_files) == (1, ("engine.trt",))


def test_a_plan_of_several_ranks_is_shown_and_verified(plan_dir: Path) -> None:
    shown = CliRunner().invoke(app, ["inspect", str(plan_dir)])
    assert "4 engines, a GPU for each" in " ".join(shown.output.replace("│", " ").split())
    verified = CliRunner().invoke(app, ["verify", str(plan_dir)])
    assert verified.exit_code == 0, verified.output
    assert "ok      logits of decode 3" in verified.output


def test_verifying_finds_a_sum_that_is_left_out(
    plan_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ranks then go on with different numbers."""
    from llmasos_builder.tensorrt.parallel import sharded_graph

    monkeypatch.setattr(sharded_graph, "all_reduce", lambda _layers, x, _num_ranks: x)
    verified = CliRunner().invoke(app, ["verify", str(plan_dir)])
    assert verified.exit_code == 1
    assert "parts 0 and 1 give different hidden_states_out" in str(verified.exception)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tensor_parallel_size": 0}, "tensor_parallel_size must be at least 1, got 0"),
        ({"pipeline_parallel_size": 0}, "pipeline_parallel_size must be at least 1, got 0"),
        (
            {"gpus": ("sm75",), "precision": "fp16"},
            "tensor_parallel_size 2 needs at least sm80, and gpu is sm75",
        ),
        (
            {"target": "openvino", "gpus": (), "pipeline_parallel_size": 1},
            "tensor_parallel_size is for target tensorrt, target is openvino",
        ),
        (
            {"target": "openvino", "gpus": (), "tensor_parallel_size": 1},
            "pipeline_parallel_size is for target tensorrt, target is openvino",
        ),
    ],
)
def test_sizes_that_cannot_be_are_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        options(**fields)


def test_layers_can_be_cut_for_any_gpu() -> None:
    assert options(gpus=("sm75",), precision="fp16", tensor_parallel_size=1)


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        (("--tp", "3"), "tensor_parallel_size must divide 4, the network's attention heads, got 3"),
        (("--pp", "3"), "pipeline_parallel_size must be at most 2, the network's layers, got 3"),
        (("--tp", "2"), "tensor_parallel_size 2 leaves 2 of 4 attention heads to each GPU"),
    ],
)
def test_a_network_that_does_not_divide_is_refused_and_nothing_is_written(
    sizes: tuple[str, str], problem: str, tiny_llama: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    arguments = ["build", str(tiny_llama), "--output", str(output), "--precision", "fp16"]
    arguments += ["--target", "tensorrt", "--gpu", "sm89", *sizes]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert problem in str(result.exception)
    assert not output.exists()
