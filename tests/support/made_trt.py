"""Small networks on TensorRT's interface, with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from llmasos.engine.plan import Precision
from llmasos_builder.architectures import Decoder, decoder_spec
from llmasos_builder.architectures.supported import SUPPORTED
from llmasos_builder.graph import Array
from llmasos_builder.tensorrt.compile import define_network
from llmasos_builder.tensorrt.library import load_library
from llmasos_builder.tensorrt.network import TensorRTGraph
from llmasos_builder.tensorrt.options import NetworkOptions

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
    "tie_word_embeddings": True,
}
GPT2: dict[str, Any] = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "vocab_size": 100,
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
}
BLOOM: dict[str, Any] = {
    "architectures": ["BloomForCausalLM"],
    "model_type": "bloom",
    "vocab_size": 100,
    "hidden_size": 64,
    "n_layer": 2,
    "n_head": 4,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "llama gqa tied": LLAMA,
    "llama mha untied": {**LLAMA, "num_key_value_heads": 4, "tie_word_embeddings": False},
    "llama mqa biases": {
        **LLAMA,
        "num_key_value_heads": 1,
        "attention_bias": True,
        "mlp_bias": True,
        "hidden_act": "gelu",
    },
    "llama heads of 80, llama3": {
        **LLAMA,
        "head_dim": 80,
        "rope_parameters": LLAMA3_ROPE,
        "hidden_act": "relu",
    },
    "gpt2 tied": GPT2,
    "gpt2 untied unscaled": {
        **GPT2,
        "tie_word_embeddings": False,
        "scale_attn_weights": False,
        "activation_function": "relu",
    },
}


def like_llama(architecture: str, **changes: Any) -> dict[str, Any]:
    """The config.json of an architecture whose fields are Llama's."""
    model_type = SUPPORTED[architecture].model_type
    return {**LLAMA, "architectures": [architecture], "model_type": model_type, **changes}


SIZES = {"vocab_size": 100, "hidden_size": 64, "max_position_embeddings": 128}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "BloomForCausalLM": BLOOM,
    "FalconForCausalLM": {
        **SIZES,
        "architectures": ["FalconForCausalLM"],
        "model_type": "falcon",
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "multi_query": True,
        "parallel_attn": True,
        "bias": False,
        "alibi": False,
        "new_decoder_architecture": False,
    },
    "GPT2LMHeadModel": GPT2,
    "GPTNeoForCausalLM": {
        **SIZES,
        "architectures": ["GPTNeoForCausalLM"],
        "model_type": "gpt_neo",
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 20,
    },
    "GPTNeoXForCausalLM": {
        **SIZES,
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "rotary_pct": 0.5,
    },
    "GemmaForCausalLM": like_llama("GemmaForCausalLM", head_dim=16),
    "Gemma2ForCausalLM": like_llama("Gemma2ForCausalLM", head_dim=16, sliding_window=20),
    "Gemma3ForCausalLM": like_llama("Gemma3ForCausalLM", head_dim=16, sliding_window=20),
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": like_llama("MistralForCausalLM", sliding_window=20),
    "OPTForCausalLM": {
        **SIZES,
        "architectures": ["OPTForCausalLM"],
        "model_type": "opt",
        "ffn_dim": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "word_embed_proj_dim": 32,
    },
    "Phi3ForCausalLM": like_llama("Phi3ForCausalLM", pad_token_id=0),
    "Qwen2ForCausalLM": like_llama("Qwen2ForCausalLM"),
    "Qwen3ForCausalLM": like_llama("Qwen3ForCausalLM", head_dim=16),
}


def defined(
    config: dict[str, Any] | Decoder = LLAMA, precision: Precision = "fp16", **changes: Any
) -> TensorRTGraph:
    """The network of a config.json; changes: of the options."""
    spec = config if isinstance(config, Decoder) else decoder_spec(config)
    rng = np.random.default_rng(0)

    def load(name: str, shape: tuple[int, ...]) -> Array:
        return rng.normal(0, 0.1, shape).astype(np.float32)

    sizes: dict[str, Any] = {"max_batch_size": 8, "max_seq_len": 64, "prefill_length": 16}
    options = NetworkOptions(precision=precision, **{**sizes, **changes})
    return define_network(spec, load, library=load_library(), options=options)


def shapes(graph: TensorRTGraph, kind: str) -> dict[str, tuple[int, ...]]:
    """Of every input or output, by its name."""
    tensors = [
        getattr(graph.definition, f"get_{kind}")(index)
        for index in range(getattr(graph.definition, f"num_{kind}s"))
    ]
    return {tensor.name: tuple(tensor.shape) for tensor in tensors}


def layers(graph: TensorRTGraph, kind: str) -> Iterator[Any]:
    """Every layer of one LayerType."""
    definition = graph.definition
    for index in range(definition.num_layers):
        layer = definition.get_layer(index)
        if layer.type.name == kind:
            yield layer
