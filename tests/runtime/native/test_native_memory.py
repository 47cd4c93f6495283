"""What a native engine takes of the memory, and what its plan says of it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import needs_native  # noqa: F401
import numpy as np
import pytest
from llmasos.engine.cpu_kind import this_cpu_kind
from llmasos.engine.native_engine import FileField, KVBlock, LayerField
from llmasos.engine.plan import EnginePlan
from llmasos.errors import PlanError
from llmasos_app.memory_plan import plan_memory
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_runtime.native.code import native_record
from llmasos_runtime.native.memory import Memory, Sizes, Weights
from tiny import write_tiny_llama


@pytest.fixture(scope="module")
def plan_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("native")
    checkpoint = write_tiny_llama(directory / "checkpoint", hidden=256)
    options = BuildOptions(target="native", precision="int4", deterministic=True)
    build_plan(checkpoint, directory / "plan", options)
    return directory / "plan"


def test_the_plan_says_what_is_in_int4_and_how(plan_dir: Path) -> None:
    plan = EnginePlan.load(plan_dir)
    assert plan.deterministic
    assert plan.weights.format.group_size == 64
    assert plan.int8_matrices == ("model.embed_tokens",)
    assert plan.files.keys() >= {"weights.bin", f"code.{this_cpu_kind()}.o"}
    assert {"numba", "llvmlite"} <= plan.built_with.keys()


def test_the_memory_plan_counts_the_file_and_the_blocks(plan_dir: Path) -> None:
    found = plan_memory(
        str(plan_dir),
        target="native",
        precision="int4",
        kv_cache_precision=None,
        int4_except=(),
        memory=2**30,
        max_seq_len=None,
        max_batch_size=64,
        max_num_tokens=2048,
        revision=None,
        progress=lambda stage, done, total: None,
    )
    plan = EnginePlan.read(plan_dir)
    sizes = Sizes.of(plan, native_record(plan), num_threads=1)
    assert found.need.mapped == plan.files["weights.bin"].size
    assert found.need.packed == 0
    assert found.need.block_bytes == sizes.block_bytes == 2 * 2 * KVBlock(64).num_bytes
    assert found.need.activations > sizes.num_bytes
    assert found.num_sequences[512] > 1


def test_all_buffers_fit_into_their_memory(plan_dir: Path) -> None:
    plan = EnginePlan.read(plan_dir)
    sizes = Sizes.of(plan, native_record(plan), num_threads=3)
    memory = Memory(sizes.num_bytes)
    taken = [memory.take(size) for size in sizes.buffers.values()]
    assert all(part.ctypes.data % 64 == 0 and not part.any() for part in taken)
    ends = sorted((part.ctypes.data, part.ctypes.data + part.nbytes) for part in taken)
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))


def test_offsets_out_of_the_weights_file_are_refused(tmp_path: Path) -> None:
    header = np.zeros(len(FileField) + len(LayerField), np.int64)
    header[:] = 64
    header[len(FileField) + LayerField.SCORE_SCALE] = 2**40  # is no offset
    path = tmp_path / "weights.bin"
    path.write_bytes(header.tobytes().ljust(1024, b"\0"))
    assert Weights(path, num_layers=1).layers.shape == (1, len(LayerField))
    header[FileField.HEAD] = 1024
    path.write_bytes(header.tobytes().ljust(1024, b"\0"))
    with pytest.raises(PlanError, match=r"weights\.bin does not hold the parts that it names"):
        Weights(path, num_layers=1)
