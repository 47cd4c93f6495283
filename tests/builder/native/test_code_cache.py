"""Machine code that is kept: compiled once, and again when anything that it depends on changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from llmasos_builder.native import code_cache
from llmasos_builder.native.code_cache import FOLDER, step_code
from llmasos_builder.native.shape import StepShape

SHAPE = StepShape(bits=8, head=64, query_heads=1, activation="silu")
KIND = "avx512-vnni"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[StepShape]:
    """Shapes that were compiled, by a compiler that takes no time, into a cache of its own."""
    shapes: list[StepShape] = []

    def compile_it(shape: StepShape, _kind: str) -> bytes:
        shapes.append(shape)
        return f"code {len(shapes)}".encode()

    monkeypatch.setattr(code_cache, "_compiled", compile_it)
    monkeypatch.setattr(code_cache, "version", lambda name: f"{name} 1")
    monkeypatch.setenv("LLMASOS_CACHE", str(tmp_path / "cache"))
    return shapes


def test_code_is_compiled_once(compiled: list[StepShape]) -> None:
    assert step_code(SHAPE, KIND) == step_code(SHAPE, KIND) == b"code 1"
    assert compiled == [SHAPE]


def test_another_shape_kind_source_or_compiler_has_code_of_its_own(
    compiled: list[StepShape], monkeypatch: pytest.MonkeyPatch
) -> None:
    step_code(SHAPE, KIND)
    step_code(replace(SHAPE, bits=4), KIND)
    step_code(SHAPE, "another")
    with monkeypatch.context() as changed:
        changed.setattr(code_cache, "_sources", lambda: "other kernels")
        step_code(SHAPE, KIND)
    monkeypatch.setattr(code_cache, "version", lambda name: f"{name} 2")
    step_code(SHAPE, KIND)
    assert len(compiled) == 5


def test_a_cache_that_cannot_be_written_costs_time_alone(
    compiled: list[StepShape], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLMASOS_CACHE", str(tmp_path / "file"))
    assert step_code(SHAPE, KIND) == b"code 1"
    assert step_code(SHAPE, KIND) == b"code 2"


@pytest.mark.usefixtures("compiled")
def test_nothing_but_whole_files_is_left(tmp_path: Path) -> None:
    step_code(SHAPE, KIND)
    (kept,) = (tmp_path / "cache" / FOLDER).iterdir()
    assert kept.suffix == ".o" and kept.read_bytes() == b"code 1"
