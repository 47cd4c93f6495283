"""Writes a checkpoint out of quantized matrices that are done, and what is left of the source."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llmasos.errors import InvalidRequestError
from llmasos.progress import Progress
from numpy.typing import NDArray

from llmasos_builder.architectures.tensors import load_tensor
from llmasos_builder.checkpoint import Checkpoint, Weights
from llmasos_builder.checkpoint.huggingface.safetensors_file import DTYPES, Entry, write_safetensors
from llmasos_builder.compression.formats import QuantizationFormat
from llmasos_builder.compression.staging import Staging

Formats = Mapping[str, QuantizationFormat]
_NAMES = {"F16": "float16", "BF16": "bfloat16"}


def stored_kind(config: Mapping[str, Any]) -> str:
    """Returns the type of scales, and of all that is not quantized: the checkpoint's, if it has 16
    bits, else float16.
    """
    said = config.get("torch_dtype") or config.get("dtype")
    return next((kind for kind, name in _NAMES.items() if name == said), "F16")


def write_checkpoint(
    directory: Path,
    checkpoint: Checkpoint,
    staging: Staging,
    formats: Formats,
    *,
    matrices: Sequence[str],
    progress: Progress,
) -> None:
    """Writes model.safetensors and config.json. formats: of the matrices that are quantized, by
    name; matrices: all of the layers.
    """
    weights, kind = checkpoint.weights, stored_kind(checkpoint.config)
    entries: dict[str, Entry] = {}
    loaders: dict[str, Callable[[str], NDArray[Any]]] = {}
    for name in sorted(weights.names()):
        if name in formats:
            tensors = staging.tensors(name)
            for part in sorted(tensors.names()):
                entries[part] = (tensors.stored_type(part), tensors.shape(part))
                loaders[part] = tensors.load_stored
        else:
            entries[name] = (kind, weights.shape(name))
            loaders[name] = lambda name: _plain(weights, name, kind)
    done = 0

    def load(name: str) -> NDArray[Any]:
        nonlocal done
        progress("write", done, len(entries))
        done += 1
        return loaders[name](name)

    write_safetensors(directory / "model.safetensors", entries, load)
    description = _description(formats, matrices)
    config = {**checkpoint.config, "quantization_config": description, "torch_dtype": _NAMES[kind]}
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def stored_bits(staging: Staging, names: Sequence[str]) -> int:
    """Returns the bits of quantized matrices, without the numbers that say their shapes."""
    total = 0
    for name in names:
        tensors = staging.tensors(name)
        for part in tensors.names():
            if not part.endswith("weight_shape"):
                size = DTYPES[tensors.stored_type(part)].itemsize
                total += 8 * size * math.prod(tensors.shape(part))
    return total


def _plain(weights: Weights, name: str, kind: str) -> NDArray[Any]:
    values = load_tensor(weights, name).astype(DTYPES[kind])
    if not np.isfinite(values.astype(np.float32)).all():
        raise InvalidRequestError(f"tensor {name} has values that {kind} cannot hold")
    return values


def _description(formats: Formats, matrices: Sequence[str]) -> dict[str, Any]:
    """Returns `quantization_config`; where formats differ, each names its modules."""
    modules: dict[QuantizationFormat, list[str]] = {}
    for name, stored in formats.items():
        modules.setdefault(stored, []).append(name.removesuffix(".weight"))
    is_one = len(modules) == 1
    ordered = sorted(modules.items(), key=lambda item: item[0].name)
    return {
        "quant_method": "compressed-tensors",
        "format": ordered[0][0].layout if ordered else "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {
            f"group_{index}": stored.scheme(["Linear"] if is_one else named)
            for index, (stored, named) in enumerate(ordered)
        },
        "ignore": ["lm_head", *(n.removesuffix(".weight") for n in matrices if n not in formats)],
        "kv_cache_scheme": None,
    }
