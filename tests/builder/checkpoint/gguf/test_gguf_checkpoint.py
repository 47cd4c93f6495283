"""A GGUF file is the checkpoint that it was made from; a damaged one is one clear line."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf.quants import dequantize, quantize
from hypothesis import example, given, settings
from hypothesis import strategies as st
from llmasos.errors import CheckpointError, UnsupportedArchitectureError
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.rope_factors import llama3_factors
from made_gguf import (
    CONTEXT,
    HEADS,
    HIDDEN,
    INNER,
    KV_HEADS,
    TEMPLATE,
    VOCABULARY,
    gpt2_tensors,
    gpt2_weights,
    interleaved,
    llama_tensors,
    llama_weights,
    write_gguf,
)

READ = (Kind.F32, Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q5_0, Kind.Q5_1, Kind.Q4_0, Kind.Q4_1)
HEAD_SIZE = HIDDEN // HEADS


def write_llama(path: Path, **options: Any) -> Path:
    return write_gguf(path, llama_tensors(llama_weights()), **options)


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


@pytest.mark.parametrize("kind", READ, ids=lambda kind: kind.name)
def test_every_type_that_is_read_is_dequantized(tmp_path: Path, kind: Kind) -> None:
    weights = llama_weights()
    loaded = open_checkpoint(write_llama(tmp_path / "m.gguf", kind=kind)).weights
    assert loaded.names() == set(weights)
    for name, weight in weights.items():
        assert loaded.shape(name) == weight.shape
        actual = loaded.load(name)
        assert actual.dtype == np.float32
        expected = weight
        if weight.ndim > 1:  # rows are quantized one by one, so their order does not matter
            expected = dequantize(quantize(weight, kind), kind).reshape(weight.shape)
        assert np.array_equal(actual, expected), name


def test_gpt2s_linear_layers_are_transposed_back(tmp_path: Path) -> None:
    weights = gpt2_weights()
    path = write_gguf(tmp_path / "m.gguf", gpt2_tensors(weights), architecture="gpt2")
    loaded = open_checkpoint(path).weights
    assert loaded.names() == set(weights)
    for name, weight in weights.items():
        assert loaded.shape(name) == weight.shape
        assert np.array_equal(loaded.load(name), weight), name


def test_biases_of_q_and_k_are_put_back_in_order_too(tmp_path: Path) -> None:
    bias = np.arange(HIDDEN, dtype=np.float32)
    tensors = llama_tensors(llama_weights()) | {"blk.0.attn_q.bias": interleaved(bias, HEADS)}
    checkpoint = open_checkpoint(write_gguf(tmp_path / "m.gguf", tensors))
    assert np.array_equal(checkpoint.weights.load("model.layers.0.self_attn.q_proj.bias"), bias)
    assert checkpoint.config["attention_bias"] is True


def test_the_config_of_a_llama_is_hugging_faces(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_llama(tmp_path / "tiny.gguf"))
    assert checkpoint.name == "tiny"
    assert checkpoint.config == {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_SIZE,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": True,
        "bos_token_id": 256,
        "eos_token_id": 257,
        "pad_token_id": None,
        "torch_dtype": "float32",
    }


def test_the_config_of_a_gpt2_is_hugging_faces(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", gpt2_tensors(gpt2_weights()), architecture="gpt2")
    config = open_checkpoint(path).config
    assert config["architectures"] == ["GPT2LMHeadModel"]
    assert (config["n_embd"], config["n_head"], config["n_layer"]) == (HIDDEN, HEADS, 1)
    assert (config["n_positions"], config["n_inner"]) == (CONTEXT, INNER)
    assert config["layer_norm_epsilon"] == 1e-5


def test_a_head_of_its_own_is_not_tied(tmp_path: Path) -> None:
    head = llama_weights(seed=1)["model.embed_tokens.weight"]
    tensors = llama_tensors(llama_weights() | {"lm_head.weight": head})
    checkpoint = open_checkpoint(write_gguf(tmp_path / "m.gguf", tensors))
    assert checkpoint.config["tie_word_embeddings"] is False
    assert np.array_equal(checkpoint.weights.load("lm_head.weight"), head)


def test_llama_3s_rope_factors_become_its_scaling(tmp_path: Path) -> None:
    scaling = {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    factors = llama3_factors(scaling, head_dim=HEAD_SIZE, theta=500000.0).astype(np.float32)
    tensors = llama_tensors(llama_weights()) | {"rope_freqs.weight": factors}
    path = write_gguf(tmp_path / "m.gguf", tensors, values={"llama.rope.freq_base": 500000.0})
    assert open_checkpoint(path).config["rope_scaling"] == scaling


@pytest.mark.parity
def test_llama_3s_rope_factors_are_those_of_hugging_face() -> None:
    import needs_torch  # noqa: F401
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaling = {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    parameters = {"rope_type": "llama3", "rope_theta": 500000.0, **scaling}
    config = LlamaConfig(
        hidden_size=4096, num_attention_heads=32, head_dim=128, rope_parameters=parameters
    )
    frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](config, device=None)
    plain = 500000.0 ** -(np.arange(0, 128, 2) / 128)
    factors = llama3_factors(scaling, head_dim=128, theta=500000.0)
    assert np.allclose(plain / factors, frequencies.numpy(), rtol=1e-5)


def test_other_rope_factors_are_refused(tmp_path: Path) -> None:
    factors = np.linspace(1, 3, HEAD_SIZE // 2, dtype=np.float32)
    tensors = llama_tensors(llama_weights()) | {"rope_freqs.weight": factors}
    assert "not those of Llama 3" in refusal(write_gguf(tmp_path / "m.gguf", tensors))


def test_linear_rope_scaling_is_kept(tmp_path: Path) -> None:
    values = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    config = open_checkpoint(write_llama(tmp_path / "m.gguf", values=values)).config
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}


def test_yarn_is_kept_with_the_length_before_it(tmp_path: Path) -> None:
    values = {
        "llama.rope.scaling.type": "yarn",
        "llama.rope.scaling.factor": 4.0,
        "llama.rope.scaling.original_context_length": 32,
    }
    path = write_gguf(tmp_path / "m.gguf", llama_tensors(llama_weights()), values=values)
    spec = decoder_spec(open_checkpoint(path).config)
    assert spec.rotary_scale == pytest.approx((0.1 * math.log(4) + 1) ** 2)


def test_the_hash_is_the_files_own(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "m.gguf")
    assert open_checkpoint(path).sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_chat_template_is_kept(tmp_path: Path) -> None:
    files = open_checkpoint(write_llama(tmp_path / "m.gguf")).tokenizer_files
    assert TEMPLATE.encode() in files["tokenizer_config.json"]


def test_templates_that_have_a_name_are_kept_too(tmp_path: Path) -> None:
    named = {"tokenizer.chat_template.tool_use": "tools", "tokenizer.chat_templates": ["tool_use"]}
    files = open_checkpoint(write_llama(tmp_path / "m.gguf", values=named)).tokenizer_files
    assert json.loads(files["tokenizer_config.json"])["chat_template"] == [
        {"name": "default", "template": TEMPLATE},
        {"name": "tool_use", "template": "tools"},
    ]


def test_another_type_is_refused_with_those_that_are_read(tmp_path: Path) -> None:
    message = refusal(write_llama(tmp_path / "m.gguf", kind=Kind.MXFP4))
    assert "has the type MXFP4, which is not read" in message
    assert "F32, F16, BF16, Q8_0, Q6_K, Q5_K" in message


def test_another_architecture_is_named(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "m.gguf", architecture="mamba")
    with pytest.raises(UnsupportedArchitectureError, match="'mamba', GGUF files of bloom, falcon"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"llama.block_count": None}, "has no llama.block_count"),
        ({"llama.embedding_length": "wide"}, "llama.embedding_length must be int, got 'wide'"),
        ({"llama.expert_count": 8}, "is a mixture of experts"),
        ({"llama.rope.dimension_count": 8}, "rotates a part of each head"),
        (
            {"tokenizer.ggml.model": "bert"},
            "tokenizer.ggml.model is 'bert'; supported are gpt2, llama",
        ),
        ({"tokenizer.ggml.model": None}, "tokenizer.ggml.model is missing"),
        ({"tokenizer.ggml.pre": "nonsense"}, "tokenizer.ggml.pre is 'nonsense'; supported are"),
        ({"tokenizer.ggml.tokens": None}, "tokenizer.ggml.tokens is missing"),
        ({"tokenizer.ggml.tokens": [1, 2]}, "tokenizer.ggml.tokens must hold str alone"),
        ({"tokenizer.ggml.token_type": [1]}, "token_type has 1 entries for 259 tokens"),
        ({"tokenizer.ggml.merges": ["x"]}, "the merge 'x' is not a pair of tokens"),
        ({"tokenizer.ggml.merges": ["h e"]}, "needs the token 'he', which is missing"),
    ],
)
def test_metadata_that_is_missing_or_wrong_is_named(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    assert message in refusal(write_llama(tmp_path / "m.gguf", values=values))


def test_a_tensor_that_the_network_does_not_have_is_named(tmp_path: Path) -> None:
    tensors = llama_tensors(llama_weights())
    tensors["blk.0.attn_surprise.weight"] = tensors["output_norm.weight"]
    assert "blk.0.attn_surprise.weight" in refusal(write_gguf(tmp_path / "m.gguf", tensors))


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    tensors = llama_tensors(llama_weights())
    del tensors["blk.1.ffn_up.weight"]
    weights = open_checkpoint(write_gguf(tmp_path / "m.gguf", tensors)).weights
    with pytest.raises(CheckpointError, match=r"no tensor model\.layers\.1\.mlp\.up_proj\.weight"):
        weights.load("model.layers.1.mlp.up_proj.weight")
    del tensors["token_embd.weight"]
    assert "no tensor token_embd.weight" in refusal(write_gguf(tmp_path / "n.gguf", tensors))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated or damaged"),
        (b"GG", "truncated or damaged"),
        (b"not a GGUF file at all, but long enough", "is not a GGUF file"),
        (b"GGUF\x01\0\0\0" + bytes(64), "has GGUF version 1, versions 2 and 3 are read"),
        (b"GGUF\x03\0\0\0" + b"\xff" * 16, "truncated or damaged"),
    ],
)
def test_what_is_no_gguf_file_is_said_so(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    assert message in refusal(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("whole") / "m.gguf")


@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_a_file_cut_anywhere_is_refused(whole: Path, data: st.DataObject) -> None:
    content = whole.read_bytes()
    size = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 6000))
    path = whole.with_name("cut.gguf")
    path.write_bytes(content[:size])
    refusal(path)


@given(offset=st.integers(0, 9000), damage=st.binary(min_size=1, max_size=8))
@example(offset=255, damage=b"\x00")  # no heads
@example(offset=5298, damage=b"\x00")  # a tensor without rows
@settings(deadline=None, max_examples=500)
def test_damage_never_shows_a_library_error_and_never_hangs(
    whole: Path, offset: int, damage: bytes
) -> None:
    content = whole.read_bytes()
    path = whole.with_name("damaged.gguf")
    path.write_bytes(content[:offset] + damage + content[offset + len(damage) :])
    try:
        weights = open_checkpoint(path).weights
        for name in weights.names():
            weights.load(name)
    except CheckpointError as error:
        assert "\n" not in str(error)
