"""Which compiler target auto takes on a CPU, and what it says of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from llmasos.engine.plan import Limits
from llmasos.errors import PlanError
from llmasos_builder import cpu_target
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.build import build_plan
from llmasos_builder.cpu_target import settle_target
from llmasos_builder.native import compile as native_compile
from llmasos_builder.options import BuildOptions

LIMITS = Limits(max_seq_len=64, max_num_tokens=64, max_batch_size=4)
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 131,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}


@pytest.fixture
def has_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose processor there is machine code for, and that can compile it."""
    monkeypatch.setattr(native_compile, "kind_to_build", lambda: "avx512-vnni")


def settled(config: dict[str, Any], **options: Any) -> tuple[str, str | None]:
    chosen, reason = settle_target(BuildOptions(**options), decoder_spec(config), LIMITS)
    return chosen.target, reason


@pytest.mark.usefixtures("has_code")
@pytest.mark.parametrize(
    ("options", "target"),
    [
        ({}, "native"),
        ({"precision": "int4"}, "native"),
        ({"kv_cache_precision": "u8"}, "native"),
        ({"deterministic": True}, "native"),
        ({"precision": "f32"}, "openvino"),
        ({"precision": "bf16"}, "openvino"),
        ({"kv_cache_precision": "bf16"}, "openvino"),
        ({"precision": "int4", "int4_except": ("down_proj",)}, "openvino"),
        ({"target": "openvino"}, "openvino"),
    ],
)
def test_a_llama_is_native_unless_only_openvino_has_what_is_asked_for(
    options: dict[str, Any], target: str
) -> None:
    assert settled(LLAMA, **options) == (target, None)


@pytest.mark.usefixtures("has_code")
def test_a_network_without_kernels_is_for_openvino_and_the_reason_is_its_name() -> None:
    target, reason = settled(LLAMA | {"head_dim": 512})
    assert target == "openvino"
    assert reason == "target native does not support heads of 512 elements, more than 256"


def test_a_machine_without_code_is_for_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing() -> str:
        raise PlanError("this processor has none", hint="build for openvino")

    monkeypatch.setattr(native_compile, "kind_to_build", nothing)
    assert settled(LLAMA) == ("openvino", "this processor has none")


def test_a_build_says_in_one_line_why_it_is_not_native(
    tiny_llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(cpu_target, "_why_not_native", lambda *_: "it is Tuesday")
    with caplog.at_level(logging.WARNING):
        plan = build_plan(tiny_llama, tmp_path / "plan", BuildOptions())
    assert plan.target == "openvino"
    assert [r.getMessage() for r in caplog.records] == ["compiling for openvino: it is Tuesday"]


def test_the_facts_of_a_machine_change_with_its_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cpu_target.machine_facts()
    monkeypatch.setattr(cpu_target, "this_cpu_kind", lambda: "another")
    assert cpu_target.machine_facts() != before
