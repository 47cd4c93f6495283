from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize
from numpy.typing import NDArray
from safetensors.numpy import load_file

from benchmarks.gguf_file import write_q8_0_gguf


class Tensors:
    def __init__(self, tensors: dict[str, NDArray[np.float32]]) -> None:
        self._tensors = tensors

    def names(self) -> frozenset[str]:
        return frozenset(self._tensors)

    def load(self, name: str) -> NDArray[np.float32]:
        return self._tensors[name]


def read(path: Path) -> dict[str, NDArray[np.float32]]:
    return {
        tensor.name: dequantize(tensor.data, tensor.tensor_type)
        for tensor in GGUFReader(path).tensors
    }


def test_every_weight_is_there_to_within_eight_bits(tiny_llama: Path, tmp_path: Path) -> None:
    source = load_file(tiny_llama / "model.safetensors")
    config = json.loads((tiny_llama / "config.json").read_text())
    write_q8_0_gguf(config, Tensors(source), tmp_path / "tiny.gguf")
    written = read(tmp_path / "tiny.gguf")
    assert len(written) == len(source)
    for ours, theirs in (("token_embd", "model.embed_tokens"), ("output_norm", "model.norm")):
        np.testing.assert_allclose(
            written[f"{ours}.weight"], source[f"{theirs}.weight"], atol=0.006
        )


def test_rows_that_are_rotated_together_become_neighbours(tiny_llama: Path, tmp_path: Path) -> None:
    source = load_file(tiny_llama / "model.safetensors")
    config = json.loads((tiny_llama / "config.json").read_text())
    write_q8_0_gguf(config, Tensors(source), tmp_path / "tiny.gguf")
    keys = read(tmp_path / "tiny.gguf")["blk.1.attn_k.weight"].reshape(2, 16, 64)
    heads = source["model.layers.1.self_attn.k_proj.weight"].reshape(2, 16, 64)
    np.testing.assert_allclose(keys[:, 0::2], heads[:, :8], atol=0.006)
    np.testing.assert_allclose(keys[:, 1::2], heads[:, 8:], atol=0.006)


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="model_type must be llama for GGUF, got 'gpt2'"):
        write_q8_0_gguf({"model_type": "gpt2"}, Tensors({}), tmp_path / "x.gguf")
