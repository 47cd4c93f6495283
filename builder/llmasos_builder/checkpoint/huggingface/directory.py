"""A checkpoint in Hugging Face's form: config.json, files of weights, a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from llmasos.errors import CheckpointError
from llmasos.files.json_file import read_json_object
from llmasos.files.regular_file import is_there
from numpy.typing import NDArray

from llmasos_builder.checkpoint.checkpoint import Checkpoint
from llmasos_builder.checkpoint.huggingface.fp8_weights import Fp8Weights, is_fp8
from llmasos_builder.checkpoint.huggingface.language_model_part import (
    has_language_model_part,
    text_config,
    text_names,
)
from llmasos_builder.checkpoint.huggingface.optional_tensors import (
    HEAD_BIAS,
    OPTIONAL_TENSORS,
    optional_tensors,
)
from llmasos_builder.checkpoint.huggingface.quantized.configuration import (
    read_layouts,
    side_file,
)
from llmasos_builder.checkpoint.huggingface.quantized.layout import Layout, StoredTensors
from llmasos_builder.checkpoint.huggingface.quantized.weights import QuantizedWeights
from llmasos_builder.checkpoint.huggingface.safetensors_weights import (
    FP8,
    SafetensorsWeights,
    find_weight_files,
)
from llmasos_builder.checkpoint.huggingface.sentence_modules import read_sentence_modules
from llmasos_builder.checkpoint.huggingface.tokenizer_directory import read_tokenizer_files
from llmasos_builder.checkpoint.pickled.pickled_weights import (
    CONVERT,
    PickledWeights,
    find_pickled_files,
)
from llmasos_builder.checkpoint.weights import Weights

CONFIG_FILE = "config.json"
QUANTIZATION_FILE = "hf_quant_config.json"  # ModelOpt's
_PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# A network's body saved without its head lacks this prefix, as GPT-2's on the hub does.
_BODY_PREFIXES = {
    "bart": "model.",
    "bert": "bert.",
    "bloom": "transformer.",
    "distilbert": "distilbert.",
    "falcon": "transformer.",
    "gemma": "model.",
    "gemma2": "model.",
    "gemma3_text": "model.",
    "gpt2": "transformer.",
    "gpt_neo": "transformer.",
    "gpt_neox": "gpt_neox.",
    "llama": "model.",
    "mistral": "model.",
    "modernbert": "model.",
    "mpnet": "mpnet.",
    "opt": "model.",
    "phi3": "model.",
    "qwen2": "model.",
    "qwen3": "model.",
    "roberta": "roberta.",
    "xlm-roberta": "roberta.",
}
# What a tensor was called by earlier versions of transformers.
_NEWER_NAMES = {"gpt_neox": {"embed_out.weight": "lm_head.weight"}}


def open_directory(directory: Path, *, source: str) -> Checkpoint:
    """Opens a checkpoint directory; raises CheckpointError for anything missing or damaged."""
    config = read_json_object(directory / CONFIG_FILE)
    layouts = read_layouts(config, directory, QUANTIZATION_FILE)
    in_fp8 = not layouts and _quantized_to_fp8(config, directory)
    beside = side_file(config, directory)
    more_than_text = has_language_model_part(config)
    weight_files = find_weight_files(directory) or find_pickled_files(directory)
    if not weight_files:
        raise CheckpointError(_no_weights(directory))
    if more_than_text:
        config = text_config(config, str(directory / CONFIG_FILE))
    modules = read_sentence_modules(directory)
    tokenizer = read_tokenizer_files(directory)
    others = {CONFIG_FILE: directory / CONFIG_FILE, **tokenizer.read}
    if is_there(directory / QUANTIZATION_FILE):
        others[QUANTIZATION_FILE] = directory / QUANTIZATION_FILE
    if beside is not None:
        others[beside.name] = beside
    weights = _weights(
        weight_files, config, in_fp8=in_fp8, layouts=layouts, more_than_text=more_than_text
    )
    if config.get("is_encoder_decoder") is True:
        config = {**config, OPTIONAL_TENSORS: optional_tensors(weights)}
    if modules is not None:
        config = {**config, "sentence_transformers": modules.record}
        others |= modules.files
        weights = WithModules(weights, modules.weights) if modules.weights else weights
    return Checkpoint(
        source=source,
        name=directory.resolve().name if Path(source).exists() else source.rsplit("/", 1)[-1],
        config={n: value for n, value in config.items() if n != "quantization_config"},
        weights=weights,
        tokenizer_files=tokenizer.made,
        files=others | weight_files,
    )


class WithModules:
    """Weights of a network, and those of each module under the name of its directory."""

    def __init__(self, weights: Weights, modules: Mapping[str, Weights]) -> None:
        self._weights = weights
        self._modules = modules

    def names(self) -> frozenset[str]:
        inside = (f"{name}.{n}" for name, module in self._modules.items() for n in module.names())
        return self._weights.names() | frozenset(inside)

    def shape(self, name: str) -> tuple[int, ...]:
        weights, own = self._place(name)
        return weights.shape(own)

    def load(self, name: str) -> NDArray[np.float32]:
        weights, own = self._place(name)
        return weights.load(own)

    def _place(self, name: str) -> tuple[Weights, str]:
        module, _, own = name.partition(".")
        return (self._modules[module], own) if module in self._modules else (self._weights, name)


class RenamedWeights:
    """Weights under the names that a network has for them."""

    def __init__(self, weights: StoredTensors, *, stored: Mapping[str, str]) -> None:
        """stored: the stored name of each tensor."""
        self._weights = weights
        self._stored = stored

    def names(self) -> frozenset[str]:
        return frozenset(self._stored)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._weights.shape(self._inner(name))

    def stored_type(self, name: str) -> str:
        return self._weights.stored_type(self._inner(name))

    def load(self, name: str) -> NDArray[np.float32]:
        return self._weights.load(self._inner(name))

    def load_stored(self, name: str) -> NDArray[Any]:
        return self._weights.load_stored(self._inner(name))

    def _inner(self, name: str) -> str:
        if name not in self._stored:
            raise CheckpointError(f"the checkpoint has no tensor {name}")
        return self._stored[name]


def _renamed(weights: StoredTensors, config: dict[str, Any]) -> StoredTensors:
    model_type = str(config.get("model_type"))
    names = weights.names()
    newer = {old: new for old, new in _NEWER_NAMES.get(model_type, {}).items() if old in names}
    newer |= {old: new for old in names if (new := _newer_norm(old)) is not None}
    for old, new in newer.items():
        if new in names:
            raise CheckpointError(f"the checkpoint has {old} and {new}, which are the same tensor")
    prefix = _BODY_PREFIXES.get(model_type, "")
    if any(name.startswith(prefix) for name in names):
        prefix = ""
    if not newer and not prefix:
        return weights
    stored = {n: newer.get(n, n) for n in names}
    return RenamedWeights(weights, stored={_whole(n, prefix): own for own, n in stored.items()})


def _newer_norm(name: str) -> str | None:
    """Returns the name of a norm's tensor that BERT's first files call gamma or beta."""
    for old, new in (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")):
        if name.endswith(old):
            return name.removesuffix(old) + new
    return None


def _whole(name: str, prefix: str) -> str:
    """Adds the prefix of the network to a body's name; the head is outside the body."""
    return name if name.startswith(("lm_head.", HEAD_BIAS)) else prefix + name


def _weights(
    weight_files: dict[str, Path],
    config: dict[str, Any],
    *,
    in_fp8: bool,
    layouts: tuple[Layout, ...],
    more_than_text: bool,
) -> Weights:
    shards = {name: path for name, path in weight_files.items() if path.suffix != ".json"}
    stored: StoredTensors
    if all(path.suffix == ".bin" for path in shards.values()):
        stored = PickledWeights(shards)
    else:
        stored = SafetensorsWeights(shards, also=(FP8,) if in_fp8 else ())
    if more_than_text:
        stored = RenamedWeights(stored, stored=text_names(stored.names()))
    stored = _renamed(stored, config)
    if layouts:
        return QuantizedWeights(stored, layouts)
    return Fp8Weights(stored) if in_fp8 else stored


def _quantized_to_fp8(config: dict[str, Any], directory: Path) -> bool:
    """Returns whether weights are in fp8; raises CheckpointError for any other quantization."""
    found = is_fp8(config, str(directory / CONFIG_FILE))
    path = directory / QUANTIZATION_FILE
    return is_fp8(read_json_object(path, default={}), str(path)) or found


def _no_weights(directory: Path) -> str:
    found = sorted(path.name for path in directory.glob("*.safetensors"))
    if len(found) > 1:
        return f"{directory} has {len(found)} safetensors files but no model.safetensors.index.json"
    pickles = sorted(p.name for pattern in _PICKLE_PATTERNS for p in directory.glob(pattern))
    if pickles:
        return (
            f"{directory} has {pickles[0]}, and neither model.safetensors nor pytorch_model.bin; "
            f"{CONVERT}"
        )
    return f"{directory} has neither model.safetensors nor pytorch_model.bin"
