"""Activations are quantized in groups that fit the matrices, unless the plan is deterministic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from llmasos.engine.plan import Precision
from llmasos.openvino_import import ops, ov
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_runtime.openvino.activation_groups import activation_group
from llmasos_runtime.openvino.paged_model import load_paged_model

GROUP = "DYNAMIC_QUANTIZATION_GROUP_SIZE"


def network(*shapes: tuple[int, ...], kind: ov.Type) -> ov.Model:
    """Constants of a kind, beside a vector and a matrix that are not quantized."""
    constants = [ov.op.Constant(kind, ov.Shape(list(shape)), [1]) for shape in shapes]
    others = [ops.constant(np.ones(7, np.int8)), ops.constant(np.ones((5, 5), np.float32))]
    return ov.Model([ops.result(ops.convert(c, "f32")) for c in constants + others], [], "made")


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        ((576, 1536), 64),
        ((4544, 18176), 64),
        ((64, 128), 64),
        ((96, 64), 32),
        ((80, 64), 32),
        ((), 32),
    ],
)
def test_int8_takes_groups_of_64_where_they_divide_every_row(
    widths: tuple[int, ...], expected: int
) -> None:
    shapes = [(3, width) for width in widths]
    assert activation_group(network(*shapes, kind=ov.Type.i8)) == expected


def test_int4_takes_its_least_group() -> None:
    assert activation_group(network((3, 12, 128), (3, 9, 64), kind=ov.Type.i4)) == 64


@pytest.mark.parametrize(
    ("precision", "deterministic", "expected"),
    [("int8", False, 64), ("int4", False, 64), ("int8", True, 0), ("int4", True, 0)],
)
def test_a_loaded_plan_has_its_group(
    tiny_llama: Path, tmp_path: Path, precision: Precision, deterministic: bool, expected: int
) -> None:
    options = BuildOptions(target="openvino", precision=precision, deterministic=deterministic)
    plan = build_plan(tiny_llama, tmp_path / "plan", options)
    model = load_paged_model(plan, tmp_path / "plan", num_threads=1, pin_threads=False)
    assert int(model.compiled.get_property(GROUP)) == expected
