"""A Q8_0 GGUF file of a Llama checkpoint, for llama.cpp.

It has no tokenizer: prompts come as token ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import gguf
import numpy as np
from numpy.typing import NDArray

QUERY_OR_KEY = ("self_attn.q_proj.weight", "self_attn.k_proj.weight")


class Weights(Protocol):
    """What is needed of a checkpoint's weights, by their Hugging Face names."""

    def names(self) -> frozenset[str]: ...

    def load(self, name: str) -> NDArray[np.float32]: ...


def write_q8_0_gguf(config: Mapping[str, Any], weights: Weights, path: Path) -> None:
    """Write every matrix in Q8_0 and every vector in f32.

    config: config.json of a Llama checkpoint. Raises ValueError for another architecture.
    """
    if config.get("model_type") != "llama":
        raise ValueError(f"model_type must be llama for GGUF, got {config.get('model_type')!r}")
    writer = gguf.GGUFWriter(path, "llama")
    _add_fields(writer, config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name in sorted(weights.names()):
        tensor = weights.load(name)
        if name.endswith(QUERY_OR_KEY):
            tensor = _interleave_rotary_halves(tensor, _num_heads(config, name))
        new_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if new_name is None:
            raise ValueError(f"GGUF has no name for {name} in a Llama network")
        _add_tensor(writer, new_name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_fields(writer: gguf.GGUFWriter, config: Mapping[str, Any]) -> None:
    head_size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    rope = config.get("rope_parameters") or config
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config.get("num_key_value_heads", config["num_attention_heads"]))
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(rope.get("rope_theta", 10000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("none")


def _add_tensor(writer: gguf.GGUFWriter, name: str, tensor: NDArray[np.float32]) -> None:
    if tensor.ndim == 1:
        writer.add_tensor(name, tensor)
        return
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)


def _num_heads(config: Mapping[str, Any], name: str) -> int:
    heads: int = config["num_attention_heads"]
    if name.endswith("k_proj.weight"):
        heads = config.get("num_key_value_heads", heads)
    return heads


def _interleave_rotary_halves(tensor: NDArray[np.float32], num_heads: int) -> NDArray[np.float32]:
    """Rows of each head as llama.cpp rotates them.

    Hugging Face rotates row i with row i + half, llama.cpp row 2i with row 2i + 1.
    """
    rows, columns = tensor.shape
    halves = tensor.reshape(num_heads, 2, rows // num_heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows, columns)
