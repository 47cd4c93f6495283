"""The modules that sentence-transformers keeps beside a network: pooling, dense layers, prompts.

    modules.json                        which modules, in order, and the directory of each
    1_Pooling/config.json               how tokens become one vector
    2_Dense/config.json, weights        a linear layer behind it
    3_Normalize/                        unit length
    sentence_bert_config.json           max_seq_length, do_lower_case
    config_sentence_transformers.json   prompts

They become one object of config.json, so that a plan keeps them with the network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmasos.errors import CheckpointError, UnsupportedArchitectureError
from llmasos.files.json_file import read_json_object
from llmasos.files.regular_file import is_there, read_regular

from llmasos_builder.checkpoint.huggingface.quantized.layout import StoredTensors
from llmasos_builder.checkpoint.huggingface.safetensors_weights import SafetensorsWeights
from llmasos_builder.checkpoint.pickled.pickled_weights import PickledWeights

MODULES_FILE = "modules.json"
PROMPTS_FILE = "config_sentence_transformers.json"
_MAX_BYTES = 1 << 20
_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
"""In the order in which sentence-transformers puts several side by side."""


@dataclass(slots=True, kw_only=True)
class SentenceModules:
    """record: what config.json gets. files: those that were read, by name. weights: of the dense
    layers, by the directory of each.
    """

    record: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    weights: dict[str, StoredTensors] = field(default_factory=dict)


def read_sentence_modules(directory: Path) -> SentenceModules | None:
    """Reads the modules of a checkpoint; None if there are none.

    Raises CheckpointError for a file that is missing or damaged, and UnsupportedArchitectureError
    for a module that is not known.
    """
    if not is_there(directory / MODULES_FILE):
        return None
    found = SentenceModules(files={MODULES_FILE: directory / MODULES_FILE})
    found.record = {"pooling": ["mean"], "dense": [], "normalize": False}
    for kind, path in _modules(directory / MODULES_FILE):
        _take(kind, path, directory, found)
    _add_settings(directory, found)
    return found


def _modules(path: Path) -> list[tuple[str, str]]:
    """Returns the last part of each module's type, and its directory."""
    try:
        modules = json.loads(read_regular(path, at_most=_MAX_BYTES))
        pairs = [(str(one["type"]).rsplit(".", 1)[-1], str(one["path"])) for one in modules]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(
            f"{path} must list modules with a type and a path: {error or type(error).__name__}"
        ) from error
    for _, inside in pairs:
        if Path(inside).is_absolute() or ".." in Path(inside).parts:
            raise CheckpointError(f"{path}: {inside!r} is not a directory of the checkpoint")
    return pairs


def _take(kind: str, path: str, directory: Path, found: SentenceModules) -> None:
    match kind:
        case "Transformer":
            if path not in ("", "0_Transformer", "."):
                raise UnsupportedArchitectureError(f"the network in {path} is not read")
        case "Pooling":
            found.record["pooling"] = _pooling(_config(directory, path, found))
        case "Dense":
            found.record["dense"].append(_dense(directory, path, found))
        case "Normalize":
            found.record["normalize"] = True
        case "Dropout":
            pass
        case _:
            raise UnsupportedArchitectureError(
                f"the module {kind} of sentence-transformers is not supported; Transformer, "
                "Pooling, Dense and Normalize are"
            )


def _config(directory: Path, path: str, found: SentenceModules) -> dict[str, Any]:
    name = f"{path}/config.json"
    found.files[name] = directory / name
    return read_json_object(directory / name)


def _pooling(config: dict[str, Any]) -> list[str]:
    if config.get("include_prompt") is False:
        raise UnsupportedArchitectureError("pooling without the prompt's tokens is not supported")
    mode = config.get("pooling_mode")
    if mode is not None:
        return [mode] if isinstance(mode, str) else list(mode)
    return [name for field_name, name in _POOLING.items() if config.get(field_name)] or ["mean"]


def _dense(directory: Path, path: str, found: SentenceModules) -> dict[str, Any]:
    config = _config(directory, path, found)
    for name, kind in (
        ("model.safetensors", SafetensorsWeights),
        ("pytorch_model.bin", PickledWeights),
    ):
        file = directory / path / name
        if is_there(file):
            found.files[f"{path}/{name}"] = file
            found.weights[path] = kind({f"{path}/{name}": file})
            break
    else:
        raise CheckpointError(
            f"{directory / path} has neither model.safetensors nor pytorch_model.bin"
        )
    return {
        "name": path,
        "out_features": config.get("out_features"),
        "bias": bool(config.get("bias", True)),
        "activation": str(config.get("activation_function", "torch.nn.modules.activation.Tanh")),
    }


def _add_settings(directory: Path, found: SentenceModules) -> None:
    for name in ("sentence_bert_config.json", PROMPTS_FILE):
        path = directory / name
        if not is_there(path):
            continue
        found.files[name] = path
        settings = read_json_object(path)
        for wanted in ("max_seq_length", "do_lower_case", "prompts", "default_prompt_name"):
            if settings.get(wanted) is not None:
                found.record[wanted] = settings[wanted]
