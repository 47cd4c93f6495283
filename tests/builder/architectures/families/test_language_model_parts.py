"""Of a checkpoint that sees images too, the text part computes what the whole does of text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import needs_torch  # noqa: F401
import pytest
import torch
from family_networks import GEMMA3_LAYERS, like_llama
from llmasos.errors import CheckpointError
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.checkpoint import open_checkpoint
from parity import Network, ReferenceModel, check_parity, write_empty_tokenizer
from safetensors.numpy import load_file, save_file
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    PixtralVisionConfig,
    SiglipVisionConfig,
)

EYE = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
NETWORKS: dict[str, tuple[Any, Any]] = {
    "gemma3": (
        Gemma3ForConditionalGeneration,
        Gemma3Config(
            text_config=like_llama(
                Gemma3TextConfig, **GEMMA3_LAYERS, tie_word_embeddings=True, initializer_range=0.1
            ).to_dict(),
            vision_config=SiglipVisionConfig(**EYE).to_dict(),
            mm_tokens_per_image=4,
            eos_token_id=[1, 106],
            initializer_range=0.1,
        ),
    ),
    "mistral3": (
        Mistral3ForConditionalGeneration,
        Mistral3Config(
            text_config=like_llama(MistralConfig, head_dim=32, sliding_window=None).to_dict(),
            vision_config=PixtralVisionConfig(**EYE).to_dict(),
            tie_word_embeddings=False,
        ),
    ),
}


def write(directory: Path, name: str) -> Any:
    """Saved by transformers; returns its network."""
    torch.manual_seed(0)
    kind, config = NETWORKS[name]
    network = kind(config).eval()
    with torch.no_grad():
        for parameter_name, parameter in network.named_parameters():
            if "norm" in parameter_name and parameter.ndim == 1:
                parameter.copy_(1 + 0.1 * torch.randn(parameter.shape))
    network.save_pretrained(directory)
    write_empty_tokenizer(directory)
    return network


def change_config(directory: Path, **changes: Any) -> dict[str, Any]:
    path = directory / "config.json"
    config: dict[str, Any] = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps(config))
    return config


@pytest.mark.parametrize("name", NETWORKS)
def test_the_language_model_part_is_the_network(name: str, tmp_path: Path) -> None:
    oracle = write(tmp_path, name)
    opened = open_checkpoint(tmp_path)
    assert not any("vision" in tensor for tensor in opened.weights.names())
    network = Network(decoder_spec(opened.config), opened.weights, oracle)
    check_parity(ReferenceModel(network.spec, network.weights), network)


def test_either_way_to_name_the_part_is_read(tmp_path: Path) -> None:
    """A part inside the network, or a whole network beside the eye."""
    write(tmp_path, "mistral3")
    expected = open_checkpoint(tmp_path).weights.names()
    stored = load_file(tmp_path / "model.safetensors")
    other = {
        name.replace("language_model.model.", "model.language_model.").removeprefix(
            "language_model."
        ): values
        for name, values in stored.items()
    }
    assert {"lm_head.weight", "model.language_model.norm.weight"} <= other.keys()
    assert {"language_model.lm_head.weight", "language_model.model.norm.weight"} <= stored.keys()
    save_file(other, tmp_path / "model.safetensors")
    assert open_checkpoint(tmp_path).weights.names() == expected


def test_what_the_config_inside_leaves_out_is_transformers_own(tmp_path: Path) -> None:
    write(tmp_path, "gemma3")
    sparse = {  # as Gemma 3 4B's is
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
        "head_dim": None,
    }
    change_config(tmp_path, text_config=sparse, eos_token_id=[1, 106])
    config = open_checkpoint(tmp_path).config
    spec, theirs = decoder_spec(config), Gemma3TextConfig(**sparse | {"head_dim": 256})
    assert (spec.vocab_size, spec.num_heads) == (theirs.vocab_size, theirs.num_attention_heads)
    assert (spec.num_kv_heads, spec.head_size) == (theirs.num_key_value_heads, theirs.head_dim)
    assert spec.max_position_embeddings == theirs.max_position_embeddings
    assert config["eos_token_id"] == [1, 106]


@pytest.mark.parametrize("inner", [None, [], "gemma3_text"])
def test_a_config_without_a_language_model_part_is_refused(inner: object, tmp_path: Path) -> None:
    write(tmp_path, "gemma3")
    change_config(tmp_path, text_config=inner)
    with pytest.raises(CheckpointError, match=r"config.json: text_config must be an object, got"):
        open_checkpoint(tmp_path)


def test_a_language_model_part_of_another_kind_is_named(tmp_path: Path) -> None:
    write(tmp_path, "mistral3")
    change_config(tmp_path, text_config={"model_type": "ministral3"})
    with pytest.raises(CheckpointError, match=r"model_type is 'ministral3', only 'mistral'"):
        decoder_spec(open_checkpoint(tmp_path).config)
