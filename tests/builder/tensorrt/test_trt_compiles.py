"""TensorRT compiles what the table of capabilities says, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from llmasos.engine.engine_io import RTX_GPUS
from llmasos.engine.plan import PRECISIONS
from llmasos.errors import PlanError, UnsupportedArchitectureError
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.architectures.supported import SUPPORTED
from llmasos_builder.tensorrt.capabilities import HEAD_SIZES, precisions_of
from llmasos_builder.tensorrt.compile import compile_tensorrt, serialize
from llmasos_builder.tensorrt.library import load_library
from llmasos_builder.tensorrt.parallel.rank import WHOLE
from made_trt import ARCHITECTURES, LLAMA, VARIANTS, defined

pytest.importorskip("tensorrt_rtx")
PAGE = Path(__file__).parents[3] / "docs" / "gpu.md"
OLDEST = {
    precision: next(gpu for gpu in RTX_GPUS if precision in precisions_of(gpu))
    for precision in PRECISIONS["tensorrt"]
}


class Unread:
    """Weights that must not be asked for."""

    def names(self) -> frozenset[str]:
        raise AssertionError

    def shape(self, name: str) -> tuple[int, ...]:
        raise AssertionError(name)

    def load(self, name: str) -> Any:
        raise AssertionError(name)


def compiles(graph: Any, *gpus: str) -> bool:
    return len(serialize(graph, gpus)) > 100_000


@pytest.mark.parametrize("precision", PRECISIONS["tensorrt"])
def test_a_precision_compiles_from_its_oldest_gpu_on(precision: Any) -> None:
    assert compiles(defined(precision=precision), OLDEST[precision])
    assert compiles(defined(precision=precision), "sm121")


@pytest.mark.parametrize("precision", [p for p in OLDEST if OLDEST[p] != "sm75"])
def test_a_precision_does_not_compile_for_the_gpu_before(precision: Any) -> None:
    gpus = list(RTX_GPUS)
    before = gpus[gpus.index(OLDEST[precision]) - 1]
    with pytest.raises(PlanError, match=f"TensorRT cannot compile this network for {before}: "):
        serialize(defined(precision=precision), [before])


def test_one_engine_serves_several_gpus() -> None:
    assert compiles(defined(), *RTX_GPUS)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("precision", ["fp16", "int4"])
def test_every_variant_compiles(config: dict[str, Any], precision: Any) -> None:
    assert compiles(defined(config, precision=precision), "sm89")


@pytest.mark.parametrize("architecture", SUPPORTED)
def test_every_architecture_compiles_for_several_gpus(architecture: str) -> None:
    assert compiles(defined(ARCHITECTURES[architecture]), "sm80", "sm89", "sm120")


@pytest.mark.parametrize("architecture", ["BloomForCausalLM", "Gemma2ForCausalLM"])
@pytest.mark.parametrize("precision", ["bf16", "int8", "fp8"])
def test_attention_with_slopes_and_caps_compiles_in_other_precisions(
    architecture: str, precision: Any
) -> None:
    assert compiles(defined(ARCHITECTURES[architecture], precision=precision), "sm89")


@pytest.mark.parametrize("size", HEAD_SIZES[:: len(HEAD_SIZES) - 1])
def test_the_smallest_and_the_largest_heads_compile(size: int) -> None:
    assert compiles(defined({**LLAMA, "head_dim": size}), "sm75", "sm121")


@pytest.mark.parametrize("size", [8, 20, 264])
def test_heads_that_no_kernel_takes_are_refused_before_a_weight_is_read(
    size: int, tmp_path: Path
) -> None:
    spec = decoder_spec({**LLAMA, "head_dim": size})
    with pytest.raises(PlanError, match="TensorRT cannot compile this network for sm89"):
        serialize(defined(spec), ["sm89"])
    with pytest.raises(UnsupportedArchitectureError, match=f"heads of 16 to 256 .* have {size}"):
        compile_tensorrt(
            spec,
            Unread(),
            library=load_library(),
            options=defined().options,
            gpus=["sm89"],
            outputs={WHOLE: tmp_path / "engine.trt"},
            progress=lambda done, total: None,
        )


def test_a_single_row_of_a_single_token_compiles() -> None:
    assert compiles(defined(max_batch_size=1, prefill_length=1, full_logits=True), "sm89")


def test_one_sequence_at_a_time_compiles() -> None:
    assert compiles(defined(max_batch_size=1, prefill_length=16), "sm89")


def test_the_page_shows_the_table() -> None:
    page = PAGE.read_text()
    for gpu, name in RTX_GPUS.items():
        has = ["yes" if p in precisions_of(gpu) else "no" for p in PRECISIONS["tensorrt"]]
        assert f"| {gpu} | {name} | {' | '.join(has)} |" in page
