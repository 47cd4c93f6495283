"""Each operation means the same to every implementation of the graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
import pytest
from llmasos.openvino_import import ov
from llmasos_builder.graph import Activation, Array, AttentionScores, Graph
from llmasos_builder.graph.recording import RecordingGraph
from llmasos_builder.graph.reference import ReferenceGraph
from llmasos_builder.openvino.graph import OpenVINOGraph

TensorT = TypeVar("TensorT")
WeightT = TypeVar("WeightT")
IDS = np.random.default_rng(0).integers(0, 50, (2, 7))
FREQUENCIES = (1.0, 0.3, 0.1, 0.03)
SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}


def values(name: str, *shape: int) -> Array:
    return np.random.default_rng(len(name)).normal(0, 1, shape).astype(np.float32)


class Maker:
    """Defines one small network on any graph: an embedding, what is tested, the output."""

    def __init__(self, body: Callable[[Graph[Any, Any], Any], Any]) -> None:
        self._body = body

    def define(self, graph: Graph[TensorT, WeightT]) -> None:
        x = graph.embed_tokens(graph.weight("embedding", values("embedding", 50, 16), "f32"))
        graph.output(graph.select_sampled(self._body(graph, x)))


def weight(graph: Graph[Any, Any], name: str, *shape: int) -> Any:
    return graph.weight(name, values(name, *shape), "f32")


def two_halves(graph: Graph[Any, Any], x: Any) -> tuple[Any, Any]:
    first, second = graph.split(x, [8, 8])
    return first, second


def attention(graph: Graph[Any, Any], x: Any, **fields: Any) -> Any:
    scores = AttentionScores(scale=0.7, **fields)
    query, key, value = graph.split(graph.linear(x, weight(graph, "qkv", 64, 16)), [32, 16, 16])
    query = graph.rotary(graph.split_heads(query, 4), FREQUENCIES)
    key = graph.rotary(graph.split_heads(key, 2), FREQUENCIES)
    heads = graph.cached_attention(query, key, graph.split_heads(value, 2), scores=scores)
    return graph.merge_heads(heads)


def several(
    graph: Graph[Any, Any], x: Any, *heights: int, with_bias: bool = False, kept: str = "f32"
) -> Any:
    """Linears of one x, put in another order; kept: the precision of the last one."""
    precisions = ["f32"] * (len(heights) - 1) + [kept]
    matrices = [
        graph.weight(f"w{i}", values("w" * (i + 1), rows, 16), precision)  # type: ignore[arg-type]
        for i, (rows, precision) in enumerate(zip(heights, precisions, strict=True))
    ]
    biases = [weight(graph, "b" * (i + 2), rows) for i, rows in enumerate(heights)]
    return graph.concat(graph.linears(x, matrices, biases if with_bias else None)[::-1])


BODIES: dict[str, Callable[[Graph[Any, Any], Any], Any]] = {
    "linear": lambda g, x: g.linear(x, weight(g, "w", 12, 16)),
    "linear with bias": lambda g, x: g.linear(x, weight(g, "w", 12, 16), weight(g, "bias", 12)),
    "linears": lambda g, x: several(g, x, 12, 5, 7),
    "linears with biases": lambda g, x: several(g, x, 12, 5, 7, with_bias=True),
    "wide linears": lambda g, x: several(g, x, 40, 40),
    "positions": lambda g, x: g.add(x, g.embed_positions(weight(g, "positions", 20, 16))),
    "rms norm": lambda g, x: g.rms_norm(x, weight(g, "w", 16), eps=0.1),
    "layer norm": lambda g, x: g.layer_norm(x, weight(g, "w", 16), weight(g, "bias", 16), eps=0.1),
    "layer norm without bias": lambda g, x: g.layer_norm(x, weight(g, "w", 16), None, eps=0.1),
    "add": lambda g, x: g.add(*two_halves(g, x)),
    "multiply": lambda g, x: g.multiply(*two_halves(g, x)),
    "split": lambda g, x: g.split(x, [3, 5, 8])[1],
    "concat": lambda g, x: g.concat([*two_halves(g, x)[::-1], x]),
    "heads": lambda g, x: g.merge_heads(g.split_heads(x, 4)),
    "rotary": lambda g, x: g.merge_heads(g.rotary(g.split_heads(x, 2), FREQUENCIES)),
    "attention": attention,
    "attention within a window": partial(attention, window=3),
    "attention that slopes": partial(attention, slopes=(1.0, 0.5, 0.25, 0.1)),
    "attention with a cap": partial(attention, cap=0.9),
    "attention with a cap within a window": partial(attention, cap=0.9, window=3),
    "attention with a cap that slopes": partial(attention, cap=0.9, slopes=(1.0, 0.5, 0.25, 0.1)),
    "soft cap": lambda g, x: g.soft_cap(x, 0.7),
    **{
        kind: lambda g, x, kind=kind: g.activation(x, kind)  # type: ignore[misc]
        for kind in get_args(Activation)
    },
}


def run_reference(maker: Maker) -> Any:
    graph = ReferenceGraph(IDS)
    maker.define(graph)
    return graph.logits


def run_openvino(maker: Maker, directory: Path) -> Any:
    graph = OpenVINOGraph()
    maker.define(graph)
    graph.save(directory / "network.xml")
    compiled = ov.Core().compile_model(directory / "network.xml", "CPU", SETTINGS)
    inputs = {
        "input_ids": IDS,
        "attention_mask": np.ones_like(IDS),
        "position_ids": np.broadcast_to(np.arange(7), (2, 7)),
        "beam_idx": np.arange(2, dtype=np.int32),
    }
    wanted = {port.any_name for port in compiled.inputs}  # without a cache there is no beam_idx
    given = {name: values for name, values in inputs.items() if name in wanted}
    return compiled.create_infer_request().infer(given)["logits"]


@pytest.mark.parametrize("body", BODIES)
def test_openvino_computes_what_the_reference_computes(body: str, tmp_path: Path) -> None:
    maker = Maker(BODIES[body])
    expected = run_reference(maker)
    np.testing.assert_allclose(run_openvino(maker, tmp_path), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("body", BODIES)
def test_the_recording_knows_the_width_of_what_the_reference_computes(body: str) -> None:
    maker = Maker(BODIES[body])
    graph = RecordingGraph()
    maker.define(graph)
    assert graph.operations[-1].inputs[0].width == run_reference(maker).shape[-1]


@pytest.mark.parametrize(
    ("heights", "kept", "products"),
    [((12, 5, 7), "f32", 1), ((16, 32), "f32", 1), ((17, 32), "f32", 2), ((12, 5), "int8", 2)],
)
def test_linears_are_one_product_where_they_are_narrow_and_kept_alike(
    heights: tuple[int, ...], kept: str, products: int
) -> None:
    graph = OpenVINOGraph()
    Maker(lambda g, x: several(g, x, *heights, kept=kept)).define(graph)
    kinds = [node.get_type_name() for node in graph.model().get_ops()]
    assert kinds.count("MatMul") == products


MISFITS: dict[str, Callable[[Graph[Any, Any], Any], Any]] = {
    "linear": lambda g, x: g.linear(x, weight(g, "w", 12, 15)),
    "bias": lambda g, x: g.linear(x, weight(g, "w", 12, 16), weight(g, "bias", 16)),
    "norm": lambda g, x: g.rms_norm(x, weight(g, "w", 15), eps=0.1),
    "add": lambda g, x: g.add(x, g.split(x, [8, 8])[0]),
    "split": lambda g, x: g.split(x, [3, 5]),
    "heads": lambda g, x: g.split_heads(x, 3),
    "linear of heads": lambda g, x: g.linear(g.split_heads(x, 1), weight(g, "w", 12, 16)),
    "rotary of a wide tensor": lambda g, x: g.rotary(x, FREQUENCIES),
    "output of heads": lambda g, x: g.split_heads(x, 4),
    "a name given twice": lambda g, x: [weight(g, "w", 3), weight(g, "w", 3)],
}


@pytest.mark.parametrize("body", MISFITS)
def test_the_recording_refuses_what_does_not_fit(body: str) -> None:
    with pytest.raises(AssertionError):
        Maker(MISFITS[body]).define(RecordingGraph())
