"""TensorRT compiles what the table of capabilities says, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from llmasos.errors import PlanError
from llmasos.plan import PRECISIONS
from llmasos_builder.tensorrt.capabilities import GPUS, precisions_of
from llmasos_builder.tensorrt.compile import serialize
from made_trt import VARIANTS, defined

PAGE = Path(__file__).parents[3] / "docs" / "gpu.md"
OLDEST = {
    precision: next(gpu for gpu in GPUS if precision in precisions_of(gpu))
    for precision in PRECISIONS["tensorrt"]
}


def compiles(graph: Any, *gpus: str) -> bool:
    return len(serialize(graph, gpus)) > 100_000


@pytest.mark.parametrize("precision", PRECISIONS["tensorrt"])
def test_a_precision_compiles_from_its_oldest_gpu_on(precision: Any) -> None:
    assert compiles(defined(precision=precision), OLDEST[precision])
    assert compiles(defined(precision=precision), "sm121")


@pytest.mark.parametrize("precision", [p for p in OLDEST if OLDEST[p] != "sm75"])
def test_a_precision_does_not_compile_for_the_gpu_before(precision: Any) -> None:
    gpus = list(GPUS)
    before = gpus[gpus.index(OLDEST[precision]) - 1]
    with pytest.raises(PlanError, match=f"TensorRT cannot compile this network for {before}: "):
        serialize(defined(precision=precision), [before])


def test_one_engine_serves_several_gpus() -> None:
    assert compiles(defined(), *GPUS)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("precision", ["fp16", "int4"])
def test_every_variant_compiles(config: dict[str, Any], precision: Any) -> None:
    assert compiles(defined(config, precision=precision), "sm89")


def test_a_single_row_of_a_single_token_compiles() -> None:
    assert compiles(defined(max_batch_size=1, prefill_length=1, full_logits=True), "sm89")


def test_the_page_shows_the_table() -> None:
    page = PAGE.read_text()
    for gpu, name in GPUS.items():
        has = ["yes" if p in precisions_of(gpu) else "no" for p in PRECISIONS["tensorrt"]]
        assert f"| {gpu} | {name} | {' | '.join(has)} |" in page
