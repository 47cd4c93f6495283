"""Ranks together compute what one engine would, whatever is cut, and each holds its part of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import needs_torch  # noqa: F401
import numpy as np
import pytest
from family_networks import FAMILY_NETWORKS
from llmasos.engine.plan import Precision
from llmasos.errors import InvalidRequestError
from llmasos_builder.tensorrt.interpreter import Row
from llmasos_builder.tensorrt.network import TensorRTGraph
from llmasos_builder.tensorrt.parallel.rank import check_divides
from networks import NETWORKS, gpt2, llama
from parity import Network, make_network
from transformers import GPT2LMHeadModel, LlamaForCausalLM
from trt_models import PRECISIONS, defined, engine
from trt_ranks import Graphs, check_equal, compared, interpreted, sliced_graphs

ALL = NETWORKS | FAMILY_NETWORKS


def made(directory: Path, name: str = "llama-80-biases") -> Network:
    kind, config = ALL[name]
    return make_network(directory, config, kind=kind)


def made_llama(directory: Path, **changes: Any) -> Network:
    return make_network(directory, llama(**changes), kind=LlamaForCausalLM)


def collectives(graph: TensorRTGraph) -> list[Any]:
    found = map(graph.definition.get_layer, range(graph.definition.num_layers))
    return [layer for layer in found if layer.type.name == "DIST_COLLECTIVE"]


@pytest.mark.parametrize("name", ALL)
def test_two_parts_in_two_stages_are_one_network(name: str, tmp_path: Path) -> None:
    """A single head cannot be cut; its layers can."""
    network = made(tmp_path, name)
    parts = 1 if network.spec.num_heads == 1 else 2
    check_equal(network, sliced_graphs(network, "f32", parts=parts, stages=2))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_is_sliced_after_it_is_quantized(
    precision: Precision, tmp_path: Path
) -> None:
    """So that all ranks together hold the values and scales of the one engine."""
    network = made_llama(tmp_path, head_size=64, intermediate_size=256, tie_word_embeddings=True)
    check_equal(network, sliced_graphs(network, precision, parts=2, stages=2), precision)


def test_rounding_to_fp16_makes_no_more_of_it(tmp_path: Path) -> None:
    network = made(tmp_path)
    model = interpreted(sliced_graphs(network, "fp16", parts=2), rounding=True)
    assert compared(network, model, "fp16", rounding=True).error < 1e-2


@pytest.mark.parametrize("kv_heads", [1, 2, 4, 8])
def test_four_parts_share_the_key_and_value_heads_there_are(kv_heads: int, tmp_path: Path) -> None:
    network = made_llama(tmp_path, heads=8, kv_heads=kv_heads, head_size=8)
    graphs = sliced_graphs(network, "f32", parts=4)
    check_equal(network, graphs)
    for graph in graphs[0]:
        shapes = {cache.shape[1] for cache in engine(graph).caches.values()}
        assert shapes == {max(1, kv_heads // 4)}


def test_three_stages_share_the_layers_and_their_caches(tmp_path: Path) -> None:
    config = gpt2(n_layer=4)
    network = make_network(tmp_path, config, kind=GPT2LMHeadModel)
    graphs = sliced_graphs(network, "f32", parts=2, stages=3)
    check_equal(network, graphs)
    names = [inputs(parts[0]) for parts in graphs]
    assert [sum("cache" in name for name in own) for own in names] == [2, 2, 4]
    assert [own & {"input_ids", "hidden_states", "last_token_index"} for own in names] == [
        {"input_ids"},
        {"hidden_states"},
        {"hidden_states", "last_token_index"},
    ]


def inputs(graph: TensorRTGraph) -> set[str]:
    definition = graph.definition
    return {definition.get_input(i).name for i in range(definition.num_inputs)}


def test_a_vocabulary_that_does_not_divide_is_whole_on_every_rank(tmp_path: Path) -> None:
    network = made_llama(tmp_path, vocab_size=301)
    graphs = sliced_graphs(network, "f32", parts=2)
    check_equal(network, graphs)
    assert rows(graphs, "model.embed_tokens.weight") == [301, 301]


def test_a_vocabulary_that_divides_is_cut(tmp_path: Path) -> None:
    graphs = sliced_graphs(made_llama(tmp_path), "f32", parts=2)
    assert rows(graphs, "model.embed_tokens.weight") == [150, 150]
    assert rows(graphs, "lm_head.weight") == [150, 150]


def rows(graphs: Graphs, name: str) -> list[int]:
    return [graph.constants[name].shape[0] for graph in graphs[0]]


def test_candidates_are_the_same_where_no_other_logits_are_returned(tmp_path: Path) -> None:
    """Also where there are more of them than a rank has tokens."""
    network = made(tmp_path)
    step = [Row(slot=0, num_computed_tokens=0, token_ids=[5, 250, 7])]
    for count in (16, 200):
        changes = {"full_logits": False, "num_candidates": count}
        cut = interpreted(sliced_graphs(network, "f32", parts=2, **changes)).step(step)
        logits = engine(defined(network, "f32")).step(step)["logits"]
        assert cut.keys() == {"candidate_logits", "candidate_ids", "log_sum_exp"}
        assert np.array_equal(cut["candidate_ids"], np.argsort(-logits, axis=1)[:, :count])
        expected = np.log(np.exp(logits.astype(np.float64)).sum(axis=1))
        np.testing.assert_allclose(cut["log_sum_exp"][:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "each_layer"), [("llama-8-gqa", 2), ("falcon-16-mqa", 1), ("gpt_neox-16", 1)]
)
def test_parts_of_a_layer_that_are_added_share_one_sum(
    name: str, each_layer: int, tmp_path: Path
) -> None:
    """Besides there are one for the embedding, and one exchange of candidates."""
    network = made(tmp_path, name)
    for graph in sliced_graphs(network, "fp16", parts=2)[0]:
        found = [layer.metadata for layer in collectives(graph)]
        assert found == ["ALL_REDUCE"] * (1 + 2 * each_layer) + ["ALL_GATHER"]
        assert {layer.num_ranks for layer in collectives(graph)} == {2}


@pytest.mark.parametrize("name", ["llama-8-gqa", "falcon-16-new-gqa", "gemma2-32-gqa-tied"])
def test_each_collective_depends_on_the_one_before(name: str, tmp_path: Path) -> None:
    """Else engines might come to them in different orders, and wait for ever."""
    network = made(tmp_path, name)
    for graph in sliced_graphs(network, "fp16", parts=2)[0]:
        behind: dict[str, int] = {}  # of each tensor, how many collectives it waits for
        num_seen = 0
        for layer in map(graph.definition.get_layer, range(graph.definition.num_layers)):
            given = [layer.get_input(i) for i in range(layer.num_inputs)]
            depth = max((behind.get(x.name, 0) for x in given if x is not None), default=0)
            if layer.type.name == "DIST_COLLECTIVE":
                assert depth == num_seen
                num_seen = depth = num_seen + 1
            behind |= {layer.get_output(i).name: depth for i in range(layer.num_outputs)}
        assert num_seen == len(collectives(graph))


def test_what_does_not_divide_is_refused_by_name(tmp_path: Path) -> None:
    spec = made_llama(tmp_path, heads=8, kv_heads=2, intermediate_size=84).spec
    for parts, stages, message in (
        (3, 1, "tensor_parallel_size must divide 8, the network's attention heads, got 3"),
        (8, 1, "tensor_parallel_size must divide 84, the network's inner width .* got 8"),
        (1, 3, "pipeline_parallel_size must be at most 2, the network's layers, got 3"),
    ):
        with pytest.raises(InvalidRequestError, match=message):
            check_divides(spec, tensor_parallel_size=parts, pipeline_parallel_size=stages)


def test_key_and_value_heads_that_cannot_be_shared_are_refused(tmp_path: Path) -> None:
    spec = made_llama(tmp_path, heads=12, kv_heads=4, intermediate_size=96).spec
    check_divides(spec, tensor_parallel_size=4, pipeline_parallel_size=1)
    check_divides(spec, tensor_parallel_size=12, pipeline_parallel_size=1)
    with pytest.raises(InvalidRequestError, match=r"divide 4, .* key and value heads, .* got 6"):
        check_divides(spec, tensor_parallel_size=6, pipeline_parallel_size=1)


def test_scales_that_two_ranks_would_share_are_refused_by_name(tmp_path: Path) -> None:
    network = made_llama(tmp_path, heads=4, head_size=16, intermediate_size=128)
    problem = r"int4 scales 64 neighbouring inputs of .*o_proj.weight .* parts of 32; choose int8"
    with pytest.raises(InvalidRequestError, match=problem):
        sliced_graphs(network, "int4", parts=2)
