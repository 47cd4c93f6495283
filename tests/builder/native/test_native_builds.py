"""Builds for target native: what may be chosen, what the plan says, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from llmasos.engine.cpu_kind import this_cpu_kind
from llmasos.engine.native_engine import CPU_KINDS
from llmasos.errors import InvalidRequestError, PlanError
from llmasos_builder.native import compile as native_compile
from llmasos_builder.options import BuildOptions

FLAGS = "flags\t\t: fpu {}\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "f32"}, r"precision must be one of int8, int4 for native, got 'f32'"),
        ({"kv_cache_precision": "f32"}, r"kv_cache_precision of target native is u8, got 'f32'"),
        (
            {"precision": "int4", "int4_except": ("layers.0",)},
            "int4_except is for target",
        ),
        ({"gpus": ("sm89",)}, r"gpu is for target tensorrt, target is native"),
    ],
)
def test_what_goes_with_no_native_engine_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        BuildOptions(**{"target": "native", **options})


def test_a_native_build_may_be_deterministic_for_it_always_is() -> None:
    assert BuildOptions(target="native", deterministic=True).deterministic


def test_missing_compilers_are_named_with_what_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(native_compile, "find_spec", lambda _: None)
    with pytest.raises(
        PlanError,
        match=r"target native is compiled with numba and llvmlite, not installed here; pip install "
        r"numba llvmlite",
    ):
        native_compile.kind_to_build()


def test_a_processor_without_code_is_told_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_compile, "find_spec", lambda name: name)
    monkeypatch.setattr(native_compile, "this_cpu_kind", lambda: None)
    with pytest.raises(PlanError, match=r"has code for avx512-vnni, avx-vnni, avx2, and this"):
        native_compile.kind_to_build()


def test_a_processor_is_of_a_kind_if_it_has_all_its_instructions(tmp_path: Path) -> None:
    kind = CPU_KINDS["avx512-vnni"]
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\n{FLAGS.format(' '.join(kind.flags))}")
    assert this_cpu_kind(info) == "avx512-vnni"
    for missing in kind.flags:
        others = " ".join(flag for flag in kind.flags if flag != missing)
        info.write_text(FLAGS.format(others))
        assert this_cpu_kind(info) == (None if missing in CPU_KINDS["avx2"].flags else "avx2")
    info.write_text("processor\t: 0\n")
    assert this_cpu_kind(info) is None
    assert this_cpu_kind(tmp_path / "nothing") is None
