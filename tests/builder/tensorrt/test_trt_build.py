"""`llmasos build --target tensorrt`: the plan, its refusals, and what building costs."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from llmasos.engine.plan import PLAN_FILE, EnginePlan
from llmasos.engine.tensorrt_record import TensorRTRecord
from llmasos.errors import InvalidRequestError, PlanError
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_builder.tensorrt.current_gpu import current_gpu
from llmasos_builder.tensorrt.library import load_library
from llmasos_runtime.load import load_engine

pytest.importorskip("tensorrt_rtx")
LLMASOS = str(Path(sys.executable).with_name("llmasos"))
PLAN = Path("engine", "1", "plan")


def options(**changes: Any) -> BuildOptions:
    fields: dict[str, Any] = {"target": "tensorrt", "precision": "fp16", "gpus": ("sm89",)}
    return BuildOptions(**{**fields, **changes})


def python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=280
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_plan_says_what_the_engine_needs(tiny_llama: Path, tmp_path: Path) -> None:
    chosen = options(gpus=("sm89", "sm120"), precision="int8", num_candidates=999, full_logits=True)
    plan = build_plan(tiny_llama, tmp_path / "plan", chosen)
    assert plan == EnginePlan.load(tmp_path / "plan")
    assert (plan.target, plan.precision, plan.kv_cache_precision) == ("tensorrt", "int8", "fp16")
    library = load_library()
    assert plan.tensorrt is not None and plan.tensorrt.scratch_bytes is not None
    assert plan.tensorrt.scratch_bytes > 2 * 512 * 64, "two rows of prefill, as int8 at least"
    assert plan.tensorrt == TensorRTRecord(
        library=library.__name__,
        version=library.__version__,
        gpus=("sm89", "sm120"),
        prefill_length=512,
        num_candidates=259,
        full_logits=True,
        scratch_bytes=plan.tensorrt.scratch_bytes,
    )
    assert plan.built_with["tensorrt_rtx"] == library.__version__
    assert "openvino" not in plan.built_with
    assert "engine.trt" in plan.files
    assert not any("openvino" in name for name in plan.files)


def test_prefill_is_no_longer_than_a_step_or_a_sequence(tiny_llama: Path, tmp_path: Path) -> None:
    scratch: list[int] = []
    for index, limits in enumerate(({}, {"max_num_tokens": 40}, {"max_seq_len": 40})):
        plan = build_plan(tiny_llama, tmp_path / str(index), options(max_batch_size=4, **limits))
        assert plan.tensorrt is not None and plan.tensorrt.scratch_bytes is not None
        assert plan.tensorrt.prefill_length == (40 if limits else 512)
        scratch.append(plan.tensorrt.scratch_bytes)
    assert max(scratch[1:]) < scratch[0], "fewer tokens need less memory between the layers"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"target": "onnx"},
            "target must be one of auto, openvino, native, tensorrt, tensorrt-llm, got 'onnx'",
        ),
        ({"precision": "int3"}, "precision must be one of .*nvfp4 for tensorrt, got 'int3'"),
        ({"gpus": ()}, "a TensorRT engine is compiled for a gpu: sm75, .* or current"),
        ({"gpus": ("sm90",)}, "gpu must be one of sm75, .* got 'sm90'; .* by current"),
        ({"gpus": ("sm89", "sm89")}, "gpu must name each one once, got sm89, sm89"),
        (
            {"gpus": ("sm89", "current")},
            "--gpu current cannot be combined with other GPUs, got sm89, current",
        ),
        (
            {"gpus": ("sm120", "sm86"), "precision": "fp8"},
            "precision fp8 needs at least sm89, and gpu is sm86; sm86 can have f32, fp16, bf16",
        ),
        ({"precision": "nvfp4"}, "precision nvfp4 needs at least sm120, and gpu is sm89"),
        ({"num_candidates": 0}, "num_candidates must be at least 1, got 0"),
        ({"num_candidates": 4000}, "num_candidates must be at most 3840, got 4000"),
        ({"deterministic": True}, "deterministic is for target openvino"),
        ({"kv_cache_precision": "u8"}, "kv_cache_precision .* fp16 is fp16, got 'u8'"),
        ({"target": "openvino", "precision": "int8"}, "gpu is for target tensorrt"),
        ({"target": "openvino", "gpus": ()}, "precision must be .* for openvino, got 'fp16'"),
    ],
)
def test_what_cannot_be_compiled_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        options(**fields)


def test_a_machine_without_a_gpu_is_told_to_name_one(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"it has no NVIDIA driver; name a gpu"):
        current_gpu(lambda _: ctypes.CDLL("libnone.so.1"))
    assert not any(tmp_path.iterdir())


def test_a_library_that_is_not_there_is_named() -> None:
    printed = python(
        "import sys\n"
        "sys.modules['tensorrt_rtx'] = None\n"
        "from llmasos_builder.tensorrt.library import load_library\n"
        "from llmasos.errors import PlanError\n"
        "try: load_library(['tensorrt_rtx'])\n"
        "except PlanError as error: print(error)\n"
    )
    assert "tensorrt_rtx" in printed
    assert "pip install 'llmasos[tensorrt-rtx]'" in printed


def test_no_other_build_loads_tensorrt() -> None:
    loaded = python("import sys, llmasos_builder.build\nprint(*sys.modules)").split()
    assert not {name for name in loaded if name.split(".")[0] in ("tensorrt", "tensorrt_rtx")}


def test_a_plan_and_its_target_go_together(tiny_llama: Path, tmp_path: Path) -> None:
    build_plan(tiny_llama, tmp_path / "plan", options())
    path = tmp_path / "plan" / PLAN_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "tensorrt": None}))
    with pytest.raises(PlanError, match="target tensorrt does not go with"):
        EnginePlan.load(tmp_path / "plan")


def test_an_engine_that_cannot_run_here_is_one_line(tiny_llama: Path, tmp_path: Path) -> None:
    build_plan(tiny_llama, tmp_path / "plan", options())
    with pytest.raises(PlanError, match="NVIDIA"):
        load_engine(tmp_path / "plan")


def test_two_builds_differ_in_nothing_but_the_numbers_in_the_engine(
    tiny_llama: Path, tmp_path: Path
) -> None:
    plans = [build_plan(tiny_llama, tmp_path / name, options()) for name in "ab"]
    sizes = [{name: file.size for name, file in plan.files.items()} for plan in plans]
    assert sizes[0] == sizes[1]
    without = [plan.model_dump(exclude={"files": {"engine.trt"}}) for plan in plans]
    assert without[0] == without[1]


def test_the_command_line_builds_and_shows_an_engine(tiny_llama: Path, tmp_path: Path) -> None:
    def llmasos(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [LLMASOS, *arguments], capture_output=True, text=True, check=False, timeout=120
        )

    output = str(tmp_path / "out")
    built = llmasos(
        *("build", str(tiny_llama), "--target", "tensorrt", "--gpu", "sm86", "--gpu", "sm89"),
        *("--precision", "fp16", "--output", output),
    )
    assert built.returncode == 0, built.stderr
    assert "compiled for sm86, sm89" in built.stdout
    shown = llmasos("inspect", output).stdout
    for expected in ("tensorrt_rtx 1.", "sm86, sm89", "fp16", "engine.trt"):
        assert expected in shown
    refused = llmasos("serve", output)
    assert refused.returncode == 1
    assert "NVIDIA" in refused.stderr


@pytest.mark.parametrize("precision", ["fp16", pytest.param("int4", marks=pytest.mark.slow)])
def test_smollm2_builds_in_little_memory_and_time(
    smollm2_checkpoint: str, tmp_path: Path, precision: str
) -> None:
    """Time is the processor's, which other work on the machine changes least."""
    printed = python(
        "import resource, sys\n"
        "from llmasos_builder.build import BuildOptions, build_plan\n"
        f"options = BuildOptions(target='tensorrt', gpus=('sm89',), precision={precision!r})\n"
        f"build_plan({smollm2_checkpoint!r}, {str(tmp_path / 'plan')!r}, options)\n"
        "usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "peak = int(status['VmHWM'].split()[0]) * 1024\n"  # ru_maxrss begins with the parent's
        "print(peak, usage.ru_utime + usage.ru_stime)\n"
    )
    peak_bytes, seconds = map(float, printed.split())
    assert peak_bytes < 2.5e9
    assert seconds < 90  # 16 s on a processor of today
