"""GGUF's tensor names and layouts of Gemma, Phi-3, and the families with LayerNorm.

llama.cpp's converter adds 1 to every norm of a Gemma, where Hugging Face's networks add it
themselves, and puts query, key and value of Falcon, GPT-NeoX and BLOOM one after the other, where
Hugging Face has them head by head. Both are undone here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from llmasos.errors import CheckpointError

from llmasos_builder.checkpoint.gguf.names import (
    LLAMA_WHOLE,
    QWEN_BLOCK,
    Array,
    NameTable,
    Renamed,
)


def less_one(weight: Array, _config: Mapping[str, Any]) -> Array:
    """Subtracts the 1 that a Gemma's norm adds."""
    return weight - np.float32(1)


def heads_together(weight: Array, config: Mapping[str, Any]) -> Array:
    """Interleaves queries, keys and values again for each key-value head."""
    heads = config.get("num_attention_heads") or config["n_head"]
    groups = config.get("num_kv_heads") or heads
    rows = weight.reshape(len(weight), -1)
    if heads % groups or len(rows) % (heads + 2 * groups):
        raise CheckpointError(f"a weight of {len(rows)} rows does not make {heads} heads")
    size = len(rows) // (heads + 2 * groups)
    parts = np.split(rows, [heads * size, (heads + groups) * size])
    grouped = np.concatenate([part.reshape(groups, -1, rows.shape[1]) for part in parts], axis=1)
    return np.ascontiguousarray(grouped).reshape(weight.shape)


def _of_gemma(block: Mapping[str, Renamed]) -> NameTable:
    """Undoes the 1 added to every norm, outside and inside blocks."""
    norms = {key: Renamed(own.name, less_one) for key, own in block.items() if "norm" in key}
    return NameTable(
        whole=MappingProxyType(
            LLAMA_WHOLE | {"output_norm.weight": Renamed("model.norm.weight", less_one)}
        ),
        block_prefix="model.layers.",
        in_block=MappingProxyType({**block, **norms}),
    )


_SANDWICHED = QWEN_BLOCK | {
    "post_attention_norm": Renamed("post_attention_layernorm"),
    "ffn_norm": Renamed("pre_feedforward_layernorm"),
    "post_ffw_norm": Renamed("post_feedforward_layernorm"),
}
GEMMA_NAMES = _of_gemma(QWEN_BLOCK)
GEMMA2_NAMES = _of_gemma(_SANDWICHED)
GEMMA3_NAMES = _of_gemma(
    _SANDWICHED
    | {"attn_q_norm": Renamed("self_attn.q_norm"), "attn_k_norm": Renamed("self_attn.k_norm")}
)
PHI3_NAMES = NameTable(
    whole=LLAMA_WHOLE,
    block_prefix="model.layers.",
    in_block=MappingProxyType(
        {
            "attn_norm": Renamed("input_layernorm"),
            "ffn_norm": Renamed("post_attention_layernorm"),
            "attn_qkv": Renamed("self_attn.qkv_proj"),
            "attn_output": Renamed("self_attn.o_proj"),
            "ffn_up": Renamed("mlp.gate_up_proj"),
            "ffn_down": Renamed("mlp.down_proj"),
        }
    ),
    ignored=frozenset({"rope_factors_long.weight", "rope_factors_short.weight"}),  # in the config
)
GPTNEOX_NAMES = NameTable(
    whole=MappingProxyType(
        {
            "token_embd.weight": Renamed("gpt_neox.embed_in.weight"),
            "output_norm.weight": Renamed("gpt_neox.final_layer_norm.weight"),
            "output_norm.bias": Renamed("gpt_neox.final_layer_norm.bias"),
            "output.weight": Renamed("lm_head.weight"),
        }
    ),
    block_prefix="gpt_neox.layers.",
    in_block=MappingProxyType(
        {
            "attn_norm": Renamed("input_layernorm"),
            "attn_qkv": Renamed("attention.query_key_value", heads_together),
            "attn_output": Renamed("attention.dense"),
            "ffn_norm": Renamed("post_attention_layernorm"),
            "ffn_up": Renamed("mlp.dense_h_to_4h"),
            "ffn_down": Renamed("mlp.dense_4h_to_h"),
        }
    ),
)
_FALCON_WHOLE = {
    "token_embd.weight": Renamed("transformer.word_embeddings.weight"),
    "output_norm.weight": Renamed("transformer.ln_f.weight"),
    "output_norm.bias": Renamed("transformer.ln_f.bias"),
    "output.weight": Renamed("lm_head.weight"),
}
_FALCON_BLOCK = {
    "attn_norm": Renamed("input_layernorm"),
    "attn_qkv": Renamed("self_attention.query_key_value", heads_together),
    "attn_output": Renamed("self_attention.dense"),
    "ffn_up": Renamed("mlp.dense_h_to_4h"),
    "ffn_down": Renamed("mlp.dense_4h_to_h"),
}
_NORM = "token_embd_norm"
BLOOM_NAMES = NameTable(
    whole=MappingProxyType(
        _FALCON_WHOLE
        | {
            f"{_NORM}.{part}": Renamed(f"transformer.word_embeddings_layernorm.{part}")
            for part in ("weight", "bias")
        }
    ),
    block_prefix="transformer.h.",
    in_block=MappingProxyType(_FALCON_BLOCK | {"ffn_norm": Renamed("post_attention_layernorm")}),
)
FALCON_NAMES = NameTable(
    whole=MappingProxyType(_FALCON_WHOLE),
    block_prefix="transformer.h.",
    in_block=MappingProxyType(_FALCON_BLOCK),
)
FALCON_TWO_NORMS_NAMES = NameTable(
    whole=MappingProxyType(_FALCON_WHOLE),
    block_prefix="transformer.h.",
    in_block=MappingProxyType(
        _FALCON_BLOCK | {"attn_norm": Renamed("ln_mlp"), "attn_norm_2": Renamed("ln_attn")}
    ),
)
