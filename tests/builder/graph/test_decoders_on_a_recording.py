"""What the decoders ask of a graph: only operations that know the last axis."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.architectures.decoder.decoder import define_decoder
from llmasos_builder.graph.recording import RecordingGraph

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
GPT2: dict[str, Any] = {
    "architectures": ["GPT2LMHeadModel"],
    "vocab_size": 100,
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
}
LLAMA_LAYER = """
    rms_norm linear linear linear split_heads split_heads split_heads rotary rotary
    cached_attention merge_heads linear add
    rms_norm linear linear activation multiply linear add
"""
GPT2_LAYER = """
    layer_norm linear split split_heads split_heads split_heads
    cached_attention merge_heads linear add
    layer_norm linear activation linear add
"""


def record(config: dict[str, Any], **changes: Any) -> RecordingGraph:
    graph = RecordingGraph()
    define_decoder(
        decoder_spec({**config, **changes}),
        graph,
        lambda name, shape: np.zeros(shape, np.float32),
        precision="int8",
    )
    return graph


def kinds(graph: RecordingGraph) -> list[str]:
    return [operation.kind for operation in graph.operations]


def test_a_llama_is_these_operations() -> None:
    expected = f"embed_tokens {2 * LLAMA_LAYER} rms_norm select_sampled linear output"
    assert kinds(record(LLAMA)) == expected.split()


def test_a_gpt2_is_these_operations() -> None:
    start = "embed_tokens embed_positions add"
    expected = f"{start} {2 * GPT2_LAYER} layer_norm select_sampled linear output"
    assert kinds(record(GPT2)) == expected.split()


def test_matrices_have_the_precision_and_vectors_are_f32() -> None:
    for config in (LLAMA, GPT2):
        for weight in record(config).weights.values():
            assert weight.precision == ("int8" if len(weight.shape) == 2 else "f32"), weight.name


def test_a_tied_head_is_the_embedding() -> None:
    for tied in (True, False):
        graph = record(LLAMA, tie_word_embeddings=tied)
        head = graph.operations[-2].weights[0].name
        assert head == ("model.embed_tokens.weight" if tied else "lm_head.weight")


def test_each_layer_scales_its_scores() -> None:
    graph = record(GPT2, scale_attn_by_inverse_layer_idx=True)
    scales = [o.settings["scores"].scale for o in graph.operations if o.kind == "cached_attention"]
    assert scales == [0.25, 0.125]


def test_every_weight_is_used() -> None:
    for config in (LLAMA, GPT2):
        graph = record(config)
        used = Counter(weight.name for o in graph.operations for weight in o.weights)
        assert used.keys() == graph.weights.keys()
