"""Which networks become native steps, and the name of what keeps the others out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from llmasos.errors import UnsupportedArchitectureError
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.native.lower import lower
from llmasos_builder.native.packing import gate_and_up, pad_heads, query_key_value, rotary_table

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


def family(architecture: str, **changes: Any) -> dict[str, Any]:
    without = {name: value for name, value in LLAMA.items() if name != "model_type"}
    return without | {"architectures": [architecture]} | changes


def test_query_key_and_value_become_one_product_and_so_do_gate_and_up() -> None:
    network = lower(decoder_spec(family("Qwen3ForCausalLM")), max_seq_len=128)
    first = network.layers[0]
    names = [weight.name for weight in first.qkv.weights]
    assert names == [f"model.layers.0.self_attn.{part}_proj.weight" for part in "qkv"]
    names = [weight.name for weight in first.gate_up.weights]
    assert names == [f"model.layers.0.mlp.{part}_proj.weight" for part in ("gate", "up")]
    assert first.query_norm is not None
    assert first.query_norm.weight.name == "model.layers.0.self_attn.q_norm.weight"
    assert len(network.layers) == 2
    assert network.norm_eps == 1e-6


def test_biases_go_with_their_products() -> None:
    network = lower(decoder_spec(family("Qwen2ForCausalLM")), max_seq_len=128)
    assert [bias.name for bias in network.layers[1].qkv.biases] == [
        f"model.layers.1.self_attn.{part}_proj.bias" for part in "qkv"
    ]
    assert not network.layers[1].output.biases


def test_matrices_that_are_stored_as_one_are_one() -> None:
    config = family("Phi3ForCausalLM", num_key_value_heads=4, pad_token_id=0)
    network = lower(decoder_spec(config), max_seq_len=128)
    assert [weight.name for weight in network.layers[0].qkv.weights] == [
        "model.layers.0.self_attn.qkv_proj.weight"
    ]
    assert len(network.layers[0].gate_up.weights) == 1


def test_a_window_goes_with_its_layer() -> None:
    config = family("MistralForCausalLM", sliding_window=100)
    network = lower(decoder_spec(config), max_seq_len=128)
    assert [layer.scores.window for layer in network.layers] == [100, 100]


def test_learned_positions_bound_the_sequences() -> None:
    network = lower(decoder_spec(GPT2), max_seq_len=128)
    assert network.positions is not None
    assert network.layer_norm
    assert network.layers[0].attention_norm.bias is not None
    assert network.layers[0].frequencies == (0.0,) * 8
    with pytest.raises(UnsupportedArchitectureError, match="of 129 tokens with 128 learned"):
        lower(decoder_spec(GPT2), max_seq_len=129)


def test_a_parallel_layer_may_have_one_norm_for_both_parts() -> None:
    network = lower(
        decoder_spec(family("FalconForCausalLM", new_decoder_architecture=False)), max_seq_len=128
    )
    for layer in network.layers:
        assert layer.parallel
        assert layer.mlp_norm == layer.attention_norm
        assert not layer.gate_up.is_gated


def test_norms_behind_both_parts_go_with_their_layer_and_one_alone_is_refused() -> None:
    spec = decoder_spec(family("Gemma3ForCausalLM", head_dim=16))
    layer = lower(spec, max_seq_len=128).layers[1]
    assert layer.output_norm is not None and layer.down_norm is not None
    prefix = "model.layers.1."
    assert layer.output_norm.weight.name == f"{prefix}post_attention_layernorm.weight"
    assert layer.down_norm.weight.name == f"{prefix}post_feedforward_layernorm.weight"
    assert layer.kind.part_norms
    half = replace(spec, names=replace(spec.names, mlp_output_norm=None))
    with pytest.raises(UnsupportedArchitectureError, match="behind one of a layer's parts alone"):
        lower(half, max_seq_len=128)


GPT2 = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "vocab_size": 100,
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
}


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (LLAMA | {"head_dim": 512}, "heads of 512 elements, more than 256"),
    ],
)
def test_what_has_no_kernel_is_refused_by_its_name(config: dict[str, Any], what: str) -> None:
    with pytest.raises(
        UnsupportedArchitectureError, match=f"target native does not support {what}; build it for"
    ):
        lower(decoder_spec(config), max_seq_len=128)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"residual": "norm_last"}, "layers that are no norm, attention and residual"),
    ],
)
def test_what_a_spec_may_have_besides_is_refused_by_its_name(
    changes: dict[str, Any], what: str
) -> None:
    spec = decoder_spec(LLAMA)
    with pytest.raises(
        UnsupportedArchitectureError, match=f"target native does not support {what}"
    ):
        lower(replace(spec, **changes), max_seq_len=128)


def test_heads_are_padded_each_by_itself() -> None:
    rows = np.arange(1, 21, dtype=np.float32).reshape(20, 1)
    halves = pad_heads(rows, num_heads=2, by_halves=True).reshape(2, 64)
    assert halves[0, :5].tolist() == [1, 2, 3, 4, 5]
    assert halves[0, 32:37].tolist() == [6, 7, 8, 9, 10]
    assert halves[1, 32:37].tolist() == [16, 17, 18, 19, 20]
    assert halves.astype(bool).sum() == 20
    whole = pad_heads(rows, num_heads=2, by_halves=False).reshape(2, 64)
    assert whole[1, :10].tolist() == list(range(11, 21))


def test_rows_of_query_key_and_value_stay_in_this_order() -> None:
    rows = np.arange(64 * 4, dtype=np.float32).reshape(-1, 1)
    found = query_key_value(rows, num_heads=2, num_kv_heads=1, head_size=64)
    assert np.array_equal(found, rows)


def test_gate_and_up_take_turns_of_sixteen() -> None:
    rows = np.arange(128, dtype=np.float32)
    turns = gate_and_up(rows).reshape(-1, 16)
    assert turns[:4, 0].tolist() == [0, 64, 16, 80]


def test_the_rotary_table_has_cosines_and_then_sines() -> None:
    table = rotary_table((1.0, 0.1), num_positions=3)
    assert table.shape == (3, 64)
    assert np.allclose(table[2, :3], [np.cos(2), np.cos(0.2), 1])
    assert np.allclose(table[2, 32:35], [np.sin(2), np.sin(0.2), 0])
