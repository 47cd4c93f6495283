"""Small GGUF files, written with the `gguf` library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter
from gguf.quants import quantize
from numpy.typing import NDArray

HIDDEN, HEADS, KV_HEADS, INNER, VOCABULARY, CONTEXT = 64, 4, 2, 96, 259, 128
TEMPLATE = "{{ messages[0].content }}"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6

Array = NDArray[np.float32]


def llama_weights(*, layers: int = 2, seed: int = 0) -> dict[str, Array]:
    """Tensors by Hugging Face name, in Hugging Face's layout."""
    draw = np.random.default_rng(seed)
    rows = {"q": HIDDEN, "k": HIDDEN // 2, "v": HIDDEN // 2, "o": HIDDEN}
    weights = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for index in range(layers):
        at = f"model.layers.{index}."
        weights |= {f"{at}self_attn.{n}_proj.weight": (size, HIDDEN) for n, size in rows.items()}
        weights |= {f"{at}mlp.{n}_proj.weight": (INNER, HIDDEN) for n in ("gate", "up")}
        weights[f"{at}mlp.down_proj.weight"] = (HIDDEN, INNER)
        weights[f"{at}input_layernorm.weight"] = (HIDDEN,)
        weights[f"{at}post_attention_layernorm.weight"] = (HIDDEN,)
    return {n: draw.normal(0, 0.3, shape).astype(np.float32) for n, shape in weights.items()}


def gpt2_weights(*, seed: int = 0) -> dict[str, Array]:
    draw = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (VOCABULARY, HIDDEN),
        "transformer.wpe.weight": (CONTEXT, HIDDEN),
        "transformer.ln_f.weight": (HIDDEN,),
        "transformer.ln_f.bias": (HIDDEN,),
    }
    at = "transformer.h.0."
    for name, (inputs, outputs) in {
        "attn.c_attn": (HIDDEN, 3 * HIDDEN),
        "attn.c_proj": (HIDDEN, HIDDEN),
        "mlp.c_fc": (HIDDEN, INNER),
        "mlp.c_proj": (INNER, HIDDEN),
    }.items():
        shapes |= {f"{at}{name}.weight": (inputs, outputs), f"{at}{name}.bias": (outputs,)}
    for name in ("ln_1", "ln_2"):
        shapes |= {f"{at}{name}.weight": (HIDDEN,), f"{at}{name}.bias": (HIDDEN,)}
    return {n: draw.normal(0, 0.3, shape).astype(np.float32) for n, shape in shapes.items()}


def llama_tensors(weights: Mapping[str, Array]) -> dict[str, Array]:
    """Hugging Face's names and layout turned into GGUF's, row by row."""
    names = {
        "embed_tokens": "token_embd",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "q_proj": "attn_q",
        "k_proj": "attn_k",
        "v_proj": "attn_v",
        "o_proj": "attn_output",
        "gate_proj": "ffn_gate",
        "up_proj": "ffn_up",
        "down_proj": "ffn_down",
    }
    tensors: dict[str, Array] = {}
    for name, weight in weights.items():
        parts = name.split(".")
        if parts[0] == "lm_head":
            tensors["output.weight"] = weight
        elif parts[1] == "norm":
            tensors["output_norm.weight"] = weight
        elif parts[1] == "embed_tokens":
            tensors["token_embd.weight"] = weight
        else:
            heads = {"q_proj": HEADS, "k_proj": KV_HEADS}.get(parts[-2])
            stored = weight if heads is None else interleaved(weight, heads)
            tensors[f"blk.{parts[2]}.{names[parts[-2]]}.{parts[-1]}"] = stored
    return tensors


def interleaved(weight: Array, heads: int) -> Array:
    """A head's rows 0, 1, 2, ... in the order 0, half, 1, half + 1, ..."""
    size = len(weight) // heads
    order = [
        head * size + half * (size // 2) + index
        for head in range(heads)
        for index in range(size // 2)
        for half in (0, 1)
    ]
    return weight[order]


def gpt2_tensors(weights: Mapping[str, Array]) -> dict[str, Array]:
    names = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
    inner = {
        "ln_1": "attn_norm",
        "ln_2": "ffn_norm",
        "attn.c_attn": "attn_qkv",
        "attn.c_proj": "attn_output",
        "mlp.c_fc": "ffn_up",
        "mlp.c_proj": "ffn_down",
    }
    tensors: dict[str, Array] = {}
    for name, weight in weights.items():
        parts = name.split(".")
        if parts[1] != "h":
            tensors[f"{names[parts[1]]}.{parts[-1]}"] = weight
        else:
            stored = weight.T if "c_" in name and name.endswith("weight") else weight
            tensors[f"blk.{parts[2]}.{inner['.'.join(parts[3:-1])]}.{parts[-1]}"] = stored
    return tensors


def write_gguf(
    path: Path,
    tensors: Mapping[str, Array],
    *,
    architecture: str = "llama",
    kind: Kind = Kind.F32,
    values: Mapping[str, Any] | None = None,
    splits: int = 0,
) -> Path:
    """values: metadata to add or change by whole key; None removes one. splits: how many
    tensors each shard has at most; 0 writes one file.

    Matrices are stored as kind, vectors as F32.
    """
    writer = GGUFWriter(path, architecture, split_max_tensors=splits)
    metadata = {**_metadata(architecture), **_tokenizer_metadata(), **(values or {})}
    for key, value in metadata.items():
        if value is not None:
            _add(writer, key, value)
    for name, weight in tensors.items():
        stored = kind if weight.ndim > 1 else Kind.F32
        writer.add_tensor(name, quantize(np.ascontiguousarray(weight), stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _metadata(architecture: str) -> dict[str, Any]:
    epsilon = "" if architecture == "gpt2" else "rms_"
    values: dict[str, Any] = {
        "context_length": CONTEXT,
        "embedding_length": HIDDEN,
        "feed_forward_length": INNER,
        "block_count": 1 if architecture == "gpt2" else 2,
        "attention.head_count": HEADS,
        f"attention.layer_norm_{epsilon}epsilon": 1e-5,
    }
    if architecture != "gpt2":
        values |= {"attention.head_count_kv": KV_HEADS, "rope.freq_base": 10000.0}
    return {f"{architecture}.{name}": value for name, value in values.items()}


def _tokenizer_metadata() -> dict[str, Any]:
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": byte_tokens(),
        "tokenizer.ggml.token_type": [NORMAL] * 256 + [CONTROL] * 2 + [NORMAL],
        "tokenizer.ggml.merges": ["Ġ t"],
        "tokenizer.ggml.bos_token_id": 256,
        "tokenizer.ggml.eos_token_id": 257,
        "tokenizer.chat_template": TEMPLATE,
    }


def byte_tokens() -> Sequence[str]:
    from tokenizers import pre_tokenizers

    return [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>", "<e>", "Ġt"]


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
