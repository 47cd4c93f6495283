"""The network that TensorRT is given: its inputs, outputs, profiles and constants."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from llmasos.errors import CheckpointError, InvalidRequestError
from llmasos_builder.tensorrt.library import load_library
from llmasos_builder.tensorrt.network import TensorRTGraph
from llmasos_builder.tensorrt.options import NetworkOptions
from made_trt import GPT2, LLAMA, VARIANTS, defined, layers, shapes


def test_a_step_is_padded_rows_with_a_slot_each() -> None:
    inputs = shapes(defined(), "input")
    assert inputs == {
        "input_ids": (-1, -1),
        "position_ids": (-1, -1),
        "kv_write_index": (-1,),
        "last_token_index": (-1,),
        **{f"{kind}_cache.{i}": (-1, 2, 64, 16) for i in range(2) for kind in ("key", "value")},
    }


def test_a_step_returns_candidates_and_the_updated_cache() -> None:
    outputs = shapes(defined(num_candidates=10), "output")
    caches = {name for name in outputs if "cache_out" in name}
    assert caches == {f"{kind}_cache_out.{i}" for i in range(2) for kind in ("key", "value")}
    assert {name: outputs[name] for name in outputs.keys() - caches} == {
        "candidate_logits": (-1, 10),
        "candidate_ids": (-1, 10),
        "log_sum_exp": (-1, 1),
    }


def test_full_logits_come_only_when_asked_for() -> None:
    assert "logits" not in shapes(defined(), "output")
    assert shapes(defined(full_logits=True), "output")["logits"] == (-1, 100)


def test_there_are_no_more_candidates_than_tokens() -> None:
    outputs = shapes(defined(num_candidates=640), "output")
    assert outputs["candidate_ids"] == (-1, 100)


def test_prefill_and_decode_have_a_profile_each() -> None:
    prefill, decode = defined().profiles
    assert list(map(tuple, prefill.get_shape("input_ids"))) == [(1, 1), (1, 16), (2, 16)]
    assert list(map(tuple, decode.get_shape("input_ids"))) == [(1, 1), (8, 1), (8, 1)]
    assert tuple(prefill.get_shape("key_cache.1")[2]) == (2, 2, 64, 16)
    assert tuple(decode.get_shape("key_cache.1")[2]) == (8, 2, 64, 16)


def test_sizes_that_are_one_have_one_name() -> None:
    definition = defined().definition
    names = {
        definition.get_input(i).name: definition.get_input(i) for i in range(definition.num_inputs)
    }
    assert {tensor.get_dimension_name(0) for tensor in names.values()} == {"batch"}
    assert names["position_ids"].get_dimension_name(1) == "length"


def test_each_layer_updates_its_cache_and_attends_behind_the_mask() -> None:
    graph, library = defined(), load_library()
    assert len(list(layers(graph, "KV_CACHE_UPDATE"))) == 4
    attentions = list(layers(graph, "ATTENTION_INPUT"))
    assert len(attentions) == 2
    for layer in attentions:
        mask = layer.get_input(3)
        assert (mask.dtype, tuple(mask.shape)) == (library.bool, (-1, 1, -1, 64))


def test_a_scale_that_fp16_rounds_is_applied_in_f32() -> None:
    exact = defined({**LLAMA, "head_dim": 16}).definition.num_layers
    rounded = defined({**LLAMA, "head_dim": 80}).definition.num_layers
    unscaled = defined({**GPT2, "scale_attn_weights": False}).definition.num_layers
    scaled = defined(GPT2).definition.num_layers
    assert rounded == exact + 2 * 2  # a cast to f32 and one back, in each layer
    assert scaled == unscaled + 2 + 1  # a product in each layer, and their constant


def test_rotary_positions_may_turn_a_part_of_a_head() -> None:
    options = NetworkOptions(precision="fp16", max_batch_size=2, max_seq_len=8, prefill_length=4)
    graph = TensorRTGraph(load_library(), options)
    table = graph.weight("table", np.ones((4, 32), np.float32), "fp16")
    heads = graph.split_heads(graph.embed_tokens(table), 2)
    assert tuple(graph.rotary(heads, (1.0, 0.5)).shape) == (-1, 2, -1, 16)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_every_constant_is_kept_as_it_was_given(config: dict[str, Any]) -> None:
    graph = defined(config)
    found = {layer.name: layer.get_output(0) for layer in layers(graph, "CONSTANT")}
    assert found.keys() == graph.constants.keys()
    for name, constant in graph.constants.items():
        assert found[name].name == name
        assert (found[name].dtype, tuple(found[name].shape)) == (constant.dtype, constant.shape)


@pytest.mark.parametrize(
    ("precision", "element", "columns"),
    [
        ("fp16", np.float16, 64),
        ("bf16", ml_dtypes.bfloat16, 64),
        ("f32", np.float32, 64),
        ("int8", np.int8, 64),
        ("int4", np.uint8, 32),
        ("fp8", ml_dtypes.float8_e4m3fn, 64),
        ("nvfp4", np.uint8, 32),
    ],
)
def test_matrices_are_in_their_precision_and_tables_in_what_is_computed_in(
    precision: Any, element: Any, columns: int
) -> None:
    constants = defined(precision=precision).constants
    matrix = constants["model.layers.0.self_attn.q_proj.weight"]
    assert (matrix.values.dtype, matrix.values.shape) == (np.dtype(element), (64, columns))
    assert matrix.shape == (64, 64)
    compute = {"f32": np.float32, "bf16": ml_dtypes.bfloat16}.get(precision, np.float16)
    assert constants["model.embed_tokens.weight"].values.dtype == np.dtype(compute)
    assert constants["model.norm.weight"].values.dtype == np.float32


def test_a_tied_head_is_the_embedding_itself() -> None:
    assert "lm_head.weight" not in defined(precision="int8").constants
    untied = defined({**LLAMA, "tie_word_embeddings": False}, precision="int8").constants
    assert untied["lm_head.weight"].values.dtype == np.int8


def test_int4_needs_inputs_that_divide_into_groups() -> None:
    with pytest.raises(InvalidRequestError, match=r"int4 .* divide by 32, and .*down_proj.* 80"):
        defined({**LLAMA, "intermediate_size": 80}, precision="int4")


def test_values_too_large_for_fp16_are_refused_by_name() -> None:
    options = NetworkOptions(precision="int8", max_batch_size=2, max_seq_len=8, prefill_length=4)
    graph = TensorRTGraph(load_library(), options)
    table = graph.weight("huge", np.full((4, 32), -7e4, np.float32), "int8")
    with pytest.raises(CheckpointError, match=r"huge holds values too large for fp16; .* bf16"):
        graph.embed_tokens(table)
