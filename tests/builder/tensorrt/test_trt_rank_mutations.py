"""A mistake in how a network is cut, or in what ranks tell each other, is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from family_networks import FAMILY_NETWORKS
from llmasos_builder.tensorrt import compile as compiling
from llmasos_builder.tensorrt.interpreter import InterpretationError, Row
from llmasos_builder.tensorrt.interpreter.collective import run_together
from llmasos_builder.tensorrt.network import TensorRTGraph
from llmasos_builder.tensorrt.parallel import sharded_graph, tensor_parallel_plan, vocabulary
from llmasos_builder.tensorrt.parallel.rank import Rank
from llmasos_builder.tensorrt.parallel.sharded_graph import Common, ShardedGraph
from llmasos_builder.tensorrt.weight_slice import WeightSlice
from networks import NETWORKS
from parity import Network, make_network
from trt_models import engine
from trt_ranks import check_equal, interpreted, sliced_graphs

ALL = NETWORKS | FAMILY_NETWORKS
LLAMA, FUSED, ALIBI = "llama-80-biases", "phi3-16-gqa", "bloom-16-untied"
Patch = pytest.MonkeyPatch
FOUND = (AssertionError, InterpretationError)
ROWS = [Row(slot=0, num_computed_tokens=0, token_ids=[3, 1, 4])]


def made(name: str, directory: Path) -> Network:
    kind, config = ALL[name]
    return make_network(directory, config, kind=kind)


def no_sum_after(kind: str) -> Callable[[Patch], None]:
    """The sum over ranks is left out behind one kind of linear."""

    def patch(monkeypatch: Patch) -> None:
        linear = ShardedGraph.linear

        def without(self: Any, x: Any, weight: Any, bias: Any = None) -> Any:
            result = linear(self, x, weight, bias)
            if isinstance(result, Common) and kind in weight.weight._name:
                return Common(whole=result.part)
            return result

        monkeypatch.setattr(ShardedGraph, "linear", without)

    return patch


def no_sum_of_embeddings(monkeypatch: Patch) -> None:
    embed: Callable[..., Any] = ShardedGraph.embed_tokens
    monkeypatch.setattr(
        ShardedGraph, "embed_tokens", lambda self, table: Common(whole=embed(self, table).part)
    )


def bias_of_every_rank(monkeypatch: Patch) -> None:
    linear = ShardedGraph.linear

    def added(self: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        own, self._rank = self._rank, replace(self._rank, part=0)
        result = linear(self, x, weight, bias)
        self._rank = own
        return result

    monkeypatch.setattr(ShardedGraph, "linear", added)


def changed_slice(
    kind: str, change: Callable[[WeightSlice, Rank], WeightSlice]
) -> Callable[[Patch], None]:
    """One kind of weight, and its bias, is cut elsewhere."""

    def patch(monkeypatch: Patch) -> None:
        def changed(spec: Any, rank: Rank) -> Any:
            right = tensor_parallel_plan.tensor_parallel_plan(spec, rank)
            return {
                n: change(weight_slice, rank) if kind in n else weight_slice
                for n, weight_slice in right.items()
            }

        monkeypatch.setattr(compiling, "tensor_parallel_plan", changed)

    return patch


def first_columns(weight_slice: WeightSlice, _rank: Rank) -> WeightSlice:
    assert weight_slice.columns is not None
    return WeightSlice(columns=range(len(weight_slice.columns)))


def first_rows(weight_slice: WeightSlice, _rank: Rank) -> WeightSlice:
    return WeightSlice(rows=tuple(range(len(rows)) for rows in weight_slice.rows))


def one_row_on(weight_slice: WeightSlice, rank: Rank) -> WeightSlice:
    step = 1 if rank.part == 0 else -1
    return WeightSlice(
        rows=tuple(range(rows.start + step, rows.stop + step) for rows in weight_slice.rows)
    )


def across_the_parts(weight_slice: WeightSlice, rank: Rank) -> WeightSlice:
    """As if a weight that holds several were one."""
    width = sum(map(len, weight_slice.rows))
    first, ends = rank.part * width, np.cumsum([0, *map(len, weight_slice.rows)]).tolist()
    return WeightSlice(rows=tuple(range(first + a, first + b) for a, b in pairwise(ends)))


def ids_of_each_rank(monkeypatch: Patch) -> None:
    told = vocabulary.output_candidates_of_all
    monkeypatch.setattr(
        sharded_graph,
        "output_candidates_of_all",
        lambda *args, own, **rest: told(*args, own=range(len(own)), **rest),
    )


def slopes_of_the_first_heads(monkeypatch: Patch) -> None:
    attention = ShardedGraph.cached_attention

    def first(self: Any, *heads: Any, scores: Any) -> Any:
        own, self._rank = self._rank, replace(self._rank, part=0)
        result = attention(self, *heads, scores=scores)
        self._rank = own
        return result

    monkeypatch.setattr(ShardedGraph, "cached_attention", first)


MUTATIONS: dict[str, tuple[str, Callable[[Patch], None]]] = {
    "no sum after attention": (LLAMA, no_sum_after("o_proj")),
    "no sum after an MLP": (LLAMA, no_sum_after("down_proj")),
    "no sum of embeddings": (LLAMA, no_sum_of_embeddings),
    "a bias of every rank": (LLAMA, bias_of_every_rank),
    "the first columns for all": (LLAMA, changed_slice("down_proj", first_columns)),
    "the first heads' columns for all": (LLAMA, changed_slice("o_proj", first_columns)),
    "the first keys for all": (LLAMA, changed_slice("k_proj", first_rows)),
    "queries one row on": (LLAMA, changed_slice("q_proj", one_row_on)),
    "queries, keys and values cut as one": (FUSED, changed_slice("qkv", across_the_parts)),
    "gate and up cut as one": (FUSED, changed_slice("gate_up", across_the_parts)),
    "the first tokens' logits for all": (LLAMA, changed_slice("lm_head", first_rows)),
    "ids that each rank counts for itself": (LLAMA, ids_of_each_rank),
    "the first heads' slopes for all": (ALIBI, slopes_of_the_first_heads),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mistake_in_a_slice_is_found(
    mutation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, mutate = MUTATIONS[mutation]
    network = made(name, tmp_path)
    mutate(monkeypatch)
    graphs = sliced_graphs(network, "f32", parts=2)
    with pytest.raises(FOUND, match=r"outputs differ|give different"):
        check_equal(network, graphs)


def test_scales_of_a_part_of_a_row_are_found(tmp_path: Path, monkeypatch: Patch) -> None:
    """Each rank quantizes what it keeps, where it should keep of what is quantized."""
    network = made(LLAMA, tmp_path)
    taken = TensorRTGraph.weight

    def weight(self: Any, name: str, values: Any, precision: Any, weight_slice: Any = None) -> Any:
        return taken(
            self, name, values if weight_slice is None else weight_slice.of(values), precision
        )

    monkeypatch.setattr(TensorRTGraph, "weight", weight)
    with pytest.raises(AssertionError, match="outputs differ"):
        check_equal(network, sliced_graphs(network, "int8", parts=2), "int8")


def test_stages_in_another_order_are_found(tmp_path: Path) -> None:
    network = made("llama-8-gqa", tmp_path)
    first, last = sliced_graphs(network, "f32", stages=2)
    with pytest.raises(InterpretationError, match="hidden_states is not given"):
        interpreted([last, first]).step(ROWS)


def test_a_rank_that_is_alone_is_told_how_many_there_should_be(tmp_path: Path) -> None:
    ((first, _),) = sliced_graphs(made(LLAMA, tmp_path), "f32", parts=2)
    with pytest.raises(InterpretationError, match="is for 2 ranks, there are 1"):
        engine(first).step(ROWS)


def test_parts_in_another_order_are_found(tmp_path: Path) -> None:
    network = made(LLAMA, tmp_path)
    ((first, second),) = sliced_graphs(network, "f32", parts=2)
    with pytest.raises(FOUND, match="outputs differ"):
        check_equal(network, [[second, first]])


def test_ranks_that_would_wait_for_ever_are_found(tmp_path: Path) -> None:
    """One ends before the others, or comes to a collective with another tensor."""
    ((first, _),) = sliced_graphs(made(LLAMA, tmp_path), "f32", parts=2)
    (whole,) = sliced_graphs(made("gpt2-16", tmp_path / "other"), "f32")
    with pytest.raises(InterpretationError, match="1 of 2 ranks do not reach it"):
        run_together([engine(first).running(ROWS), engine(whole[0]).running(ROWS)])
    ((other, _),) = sliced_graphs(made("gpt2-16", tmp_path / "third"), "f32", parts=2)
    with pytest.raises(InterpretationError, match="ranks disagree about it"):
        run_together([engine(first).running(ROWS), engine(other).running(ROWS)])


def test_sums_are_asked_for_of_all_ranks(tmp_path: Path, monkeypatch: Patch) -> None:
    """TensorRT does not give back what a collective does, so it is noted how it is made."""
    asked: list[tuple[Any, ...]] = []

    def graph(*arguments: Any, **more: Any) -> TensorRTGraph:
        made_graph = TensorRTGraph(*arguments, **more)
        made_graph.layers.definition = Noted(made_graph.definition, asked)
        return made_graph

    monkeypatch.setattr(compiling, "TensorRTGraph", graph)
    sliced_graphs(made("gpt_neox-16", tmp_path), "f32", parts=2)
    of_a_rank = [("ALL_REDUCE", "SUM", -1, None)] * 3 + [("ALL_GATHER", "NONE", -1, None)]
    assert asked == 2 * of_a_rank


class Noted:
    """A definition that writes down its collectives."""

    def __init__(self, definition: Any, asked: list[tuple[Any, ...]]) -> None:
        self._definition = definition
        self._asked = asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._definition, name)

    def add_dist_collective(self, x: Any, operation: Any, reduction: Any, *rest: Any) -> Any:
        self._asked.append((operation.name, reduction.name, *rest))
        return self._definition.add_dist_collective(x, operation, reduction, *rest)
