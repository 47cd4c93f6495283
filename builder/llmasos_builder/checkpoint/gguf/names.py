"""Converts GGUF's tensor names and layouts to Hugging Face's, by architecture.

llama.cpp rotates neighbouring pairs of a head's rows where Hugging Face rotates halves, so its
converter reorders the rows of q and k (`LlamaModel.permute` in convert_hf_to_gguf.py); here they
are put back. For Qwen it rotates halves too and does not reorder. Only Hugging Face stores GPT-2's
linear layers transposed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from llmasos.errors import CheckpointError
from numpy.typing import NDArray

Array = NDArray[np.float32]
Layout = Callable[[Array, Mapping[str, Any]], Array]
_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")


def as_stored(weight: Array, _config: Mapping[str, Any]) -> Array:
    """Keeps the layout, which is the same in both."""
    return weight


def transposed(weight: Array, _config: Mapping[str, Any]) -> Array:
    """[out, in] to [in, out]."""
    return np.ascontiguousarray(weight.T)


def halves_of_query_heads(weight: Array, config: Mapping[str, Any]) -> Array:
    """Rows of q in Hugging Face's order."""
    return _halves(weight, heads=config["num_attention_heads"])


def halves_of_key_heads(weight: Array, config: Mapping[str, Any]) -> Array:
    """Rows of k in Hugging Face's order."""
    return _halves(weight, heads=config["num_key_value_heads"])


def _halves(weight: Array, *, heads: int) -> Array:
    if heads < 1 or len(weight) % (2 * heads):
        raise CheckpointError(f"a weight of {len(weight)} rows does not make {heads} heads")
    # A head's rows are stored 0, h, 1, h+1, ... with h half of them.
    pairs = weight.reshape(heads, -1, 2, *weight.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weight.shape)


@dataclass(frozen=True, slots=True)
class Renamed:
    """A tensor's name in Hugging Face's form, and the conversion of its layout."""

    name: str
    layout: Layout = as_stored


@dataclass(frozen=True, slots=True, kw_only=True)
class NameTable:
    """The names of one architecture: complete ones, and those inside a block (with `{}`)."""

    whole: Mapping[str, Renamed]
    block_prefix: str
    in_block: Mapping[str, Renamed]
    ignored: frozenset[str] = frozenset()

    def rename(self, name: str) -> Renamed | None:
        """Returns None for a name that this architecture does not have."""
        if name in self.whole:
            return self.whole[name]
        stem, _, end = name.rpartition(".")
        block = _BLOCK.fullmatch(stem)
        if block is None or block[2] not in self.in_block:
            return None
        inner = self.in_block[block[2]]
        return Renamed(f"{self.block_prefix}{block[1]}.{inner.name}.{end}", inner.layout)


LLAMA_WHOLE = MappingProxyType(
    {
        "token_embd.weight": Renamed("model.embed_tokens.weight"),
        "output_norm.weight": Renamed("model.norm.weight"),
        "output.weight": Renamed("lm_head.weight"),
    }
)
QWEN_BLOCK = MappingProxyType(
    {
        "attn_norm": Renamed("input_layernorm"),
        "ffn_norm": Renamed("post_attention_layernorm"),
        "attn_q": Renamed("self_attn.q_proj"),
        "attn_k": Renamed("self_attn.k_proj"),
        "attn_v": Renamed("self_attn.v_proj"),
        "attn_output": Renamed("self_attn.o_proj"),
        "ffn_gate": Renamed("mlp.gate_proj"),
        "ffn_up": Renamed("mlp.up_proj"),
        "ffn_down": Renamed("mlp.down_proj"),
    }
)
LLAMA_NAMES = NameTable(
    whole=LLAMA_WHOLE,
    block_prefix="model.layers.",
    in_block=MappingProxyType(
        QWEN_BLOCK
        | {
            "attn_q": Renamed("self_attn.q_proj", halves_of_query_heads),
            "attn_k": Renamed("self_attn.k_proj", halves_of_key_heads),
        }
    ),
    ignored=frozenset({"rope_freqs.weight"}),  # in the config, as rope_scaling
)
QWEN2_NAMES = NameTable(whole=LLAMA_WHOLE, block_prefix="model.layers.", in_block=QWEN_BLOCK)
QWEN3_NAMES = NameTable(
    whole=LLAMA_WHOLE,
    block_prefix="model.layers.",
    in_block=MappingProxyType(
        QWEN_BLOCK
        | {
            "attn_q_norm": Renamed("self_attn.q_norm"),
            "attn_k_norm": Renamed("self_attn.k_norm"),
        }
    ),
)

GPT2_NAMES = NameTable(
    whole=MappingProxyType(
        {
            "token_embd.weight": Renamed("transformer.wte.weight"),
            "position_embd.weight": Renamed("transformer.wpe.weight"),
            "output_norm.weight": Renamed("transformer.ln_f.weight"),
            "output_norm.bias": Renamed("transformer.ln_f.bias"),
            "output.weight": Renamed("lm_head.weight"),
        }
    ),
    block_prefix="transformer.h.",
    in_block=MappingProxyType(
        {
            "attn_norm": Renamed("ln_1"),
            "attn_qkv": Renamed("attn.c_attn", transposed),
            "attn_output": Renamed("attn.c_proj", transposed),
            "ffn_norm": Renamed("ln_2"),
            "ffn_up": Renamed("mlp.c_fc", transposed),
            "ffn_down": Renamed("mlp.c_proj", transposed),
        }
    ),
)
