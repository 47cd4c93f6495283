"""A plan that cannot run here is refused before it is loaded, in one line that says what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llmasos.engine.plan import EnginePlan, KVCachePrecision
from llmasos.engine.plan_files import record_file
from llmasos.engine.tensorrt_record import TensorRTRecord
from llmasos.errors import PlanError
from llmasos_runtime.tensorrt.machine import Library, Machine, ThisMachine, kernel_driver_version
from llmasos_runtime.tensorrt.preflight import (
    check_machine,
    slot_bytes,
)
from made_engine import plan as made_plan
from made_machine import GIB, H100, L4, MadeMachine, driver

ENGINE_BYTES = 5000


def plan(
    directory: Path,
    *,
    library: Any = "tensorrt_rtx",
    version: str = "1.7.1.116",
    gpus: tuple[str, ...] = ("sm86", "sm89"),
    cache: KVCachePrecision = "fp16",
    **fields: int,
) -> EnginePlan:
    """3 layers of 2 KV heads of 16, max_seq_len 200."""
    record = TensorRTRecord(
        library=library,
        version=version,
        gpus=gpus,
        prefill_length=64,
        num_candidates=64,
        full_logits=False,
        **fields,
    )
    files = [directory / name for name in record.engine_files]
    for file in files:
        file.write_bytes(bytes(ENGINE_BYTES))
    changes = {
        "name": "tiny",
        "target": "tensorrt",
        "kv_cache_precision": cache,
        "num_layers": 3,
        "num_kv_heads": 2,
        "head_size": 16,
        "tensorrt": record,
        "files": {file.name: record_file(file) for file in files},
    }
    return made_plan().model_copy(update=changes)


def machine(library: str = "tensorrt_rtx", version: str = "1.7.1.116", **changes: Any) -> Machine:
    return MadeMachine(libraries={library: Library(version=version, cuda_major=13)}, **changes)


def refusal(plan: EnginePlan, directory: Path, machine: Machine) -> str:
    with pytest.raises(PlanError) as caught:
        check_machine(plan, directory, machine)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_machine_that_fits_gives_its_first_gpu(tmp_path: Path) -> None:
    assert check_machine(plan(tmp_path), tmp_path, machine()) == (L4,)
    two = machine(report=driver(L4, H100))
    assert check_machine(plan(tmp_path), tmp_path, two) == (L4,)
    data_centre = plan(tmp_path, library="tensorrt", version="11.4.0.106", gpus=("sm90",))
    hopper = machine("tensorrt", "11.4.0.106", report=driver(H100))
    assert check_machine(data_centre, tmp_path, hopper) == (H100,)


@pytest.mark.parametrize(
    ("library", "extra"), [("tensorrt_rtx", "tensorrt-rtx"), ("tensorrt", "tensorrt")]
)
def test_a_library_that_is_not_installed_names_its_extra(
    tmp_path: Path, library: str, extra: str
) -> None:
    message = refusal(plan(tmp_path, library=library), tmp_path, MadeMachine())
    assert f"needs {library} 1.7.1.116, which is not installed" in message
    assert f"pip install 'llmasos[{extra}]'" in message


@pytest.mark.parametrize("library", ["tensorrt_rtx", "tensorrt"])
@pytest.mark.parametrize("installed", ["1.7.1.117", "1.8.0.5", "1.7.1", "11.7.1.116"])
def test_another_version_of_the_library_is_named_beside_the_plans(
    tmp_path: Path, library: str, installed: str
) -> None:
    message = refusal(plan(tmp_path, library=library), tmp_path, machine(library, installed))
    assert f"compiled by {library} 1.7.1.116, and {installed} is installed" in message
    assert "build it again" in message


def test_cudas_interface_for_python_is_needed_too(tmp_path: Path) -> None:
    message = refusal(plan(tmp_path), tmp_path, machine(bindings=None))
    assert "needs cuda-bindings beside tensorrt_rtx, which is not installed" in message
    assert "pip install 'llmasos[tensorrt-rtx]'" in message


def test_without_a_driver_a_container_or_openvino_is_named(tmp_path: Path) -> None:
    message = refusal(plan(tmp_path), tmp_path, machine(report=None))
    assert "no NVIDIA driver" in message
    assert "container" in message and "openvino" in message


def test_a_driver_that_shows_no_gpu_is_told_from_none(tmp_path: Path) -> None:
    message = refusal(plan(tmp_path), tmp_path, machine(report=driver()))
    assert "shows no GPU" in message and "CUDA_VISIBLE_DEVICES" in message
    failing = replace(driver(), error="NVIDIA's driver answers cuInit with error 999")
    assert "cuInit with error 999" in refusal(plan(tmp_path), tmp_path, machine(report=failing))


def test_a_driver_older_than_the_librarys_cuda_names_the_one_to_install(tmp_path: Path) -> None:
    old = driver(L4, cuda=(12, 8), version="570.86.15")
    message = refusal(plan(tmp_path), tmp_path, machine(report=old))
    assert "driver 570.86.15 serves CUDA up to 12.8" in message
    assert "tensorrt_rtx 1.7.1.116 needs CUDA 13" in message
    assert "install driver 580 or newer" in message
    for_cuda_12 = MadeMachine(
        libraries={"tensorrt_rtx": Library(version="1.7.1.116", cuda_major=12)}, report=old
    )
    assert check_machine(plan(tmp_path), tmp_path, for_cuda_12) == (L4,)
    newer = machine(report=driver(L4, cuda=(14, 0)))
    assert check_machine(plan(tmp_path), tmp_path, newer) == (L4,)


def test_a_gpu_that_is_not_compiled_for_is_named_as_the_build_wants_it(tmp_path: Path) -> None:
    message = refusal(plan(tmp_path, gpus=("sm80", "sm120")), tmp_path, machine())
    assert "compiled for sm80, sm120, and NVIDIA L4 is sm89" in message
    assert "build it again with --gpu sm89" in message


def test_a_gpu_that_tensorrt_rtx_does_not_serve_needs_tensorrt(tmp_path: Path) -> None:
    message = refusal(plan(tmp_path), tmp_path, machine(report=driver(H100)))
    assert "NVIDIA H100 is sm90, which TensorRT-RTX does not serve" in message
    assert "pip install 'llmasos[tensorrt]'" in message and "--gpu current" in message


def test_an_engine_of_another_machines_gpu_is_built_again_on_this_one(tmp_path: Path) -> None:
    foreign = plan(tmp_path, library="tensorrt", gpus=("sm100",))
    message = refusal(foreign, tmp_path, machine("tensorrt", report=driver(H100)))
    assert "compiled for sm100, and NVIDIA H100 is sm90" in message
    assert "build it again with --gpu current" in message


@pytest.mark.parametrize(("cache", "size"), [("fp16", 2), ("bf16", 2), ("f32", 4)])
def test_too_little_memory_is_named_with_what_is_needed(
    tmp_path: Path, cache: KVCachePrecision, size: int
) -> None:
    made = plan(tmp_path, cache=cache)
    slot = 2 * 3 * 2 * 16 * 200 * size
    assert slot_bytes(made) == slot
    needed = ENGINE_BYTES + slot
    enough = driver(replace(L4, free_bytes=needed))
    assert check_machine(made, tmp_path, machine(report=enough))
    scarce = driver(replace(L4, free_bytes=needed - 1))
    message = refusal(made, tmp_path, machine(report=scarce))
    assert f"at least {needed} bytes of GPU memory" in message
    assert f"{needed - 1} of {24 * GIB} free" in message


def test_memory_for_what_is_between_the_layers_counts_where_the_plan_knows_it(
    tmp_path: Path,
) -> None:
    made = plan(tmp_path, scratch_bytes=700)
    needed = ENGINE_BYTES + 700 + slot_bytes(made)
    assert check_machine(made, tmp_path, machine(report=driver(replace(L4, free_bytes=needed))))
    scarce = driver(replace(L4, free_bytes=needed - 1))
    message = refusal(made, tmp_path, machine(report=scarce))
    assert f"at least {needed} bytes" in message and "700 for activations" in message


def test_engines_of_several_ranks_need_a_gpu_each(tmp_path: Path) -> None:
    made = plan(tmp_path, tensor_parallel_size=2, pipeline_parallel_size=2)
    message = refusal(made, tmp_path, machine(report=driver(L4, L4, L4)))
    assert "needs 4 GPUs, one for each of its engines, and NVIDIA's driver shows 3" in message
    # 2 of 3 layers and 1 of 2 heads are the most that one GPU has.
    least = ENGINE_BYTES + 2 * 2 * 1 * 16 * 200 * 2
    gpus = [replace(L4, name=f"GPU {i}", free_bytes=least) for i in range(5)]
    assert check_machine(made, tmp_path, machine(report=driver(*gpus))) == tuple(gpus[:4])
    gpus[3] = replace(gpus[3], free_bytes=least - 1)
    message = refusal(made, tmp_path, machine(report=driver(*gpus)))
    assert f"GPU 3 has {least - 1}" in message
    gpus[3] = replace(H100, name="GPU 3")
    message = refusal(made, tmp_path, machine(report=driver(*gpus)))
    assert "GPU 3 is sm90" in message


def test_this_machines_library_is_the_one_that_python_imports() -> None:
    imported = pytest.importorskip("tensorrt_rtx")
    library = ThisMachine().library("tensorrt_rtx")
    assert library == Library(version=imported.__version__, cuda_major=13)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27\n", "580.65.06"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15\nGCC 12", "570.86.15"),
        ("something else", None),
    ],
)
def test_the_kernel_says_which_driver_it_has(
    tmp_path: Path, text: str, version: str | None
) -> None:
    (tmp_path / "version").write_text(text)
    assert kernel_driver_version(tmp_path / "version") == version
    assert kernel_driver_version(tmp_path / "none") is None
