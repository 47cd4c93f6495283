"""Converts the sampling that a GGUF file recommends to generation_config.json.

llama.cpp uses the keys `general.sampling.*` as defaults.
"""

from __future__ import annotations

from reprlib import repr as short
from typing import Any

from llmasos.errors import CheckpointError

from llmasos_builder.checkpoint.gguf.file import GGUFFile

_NAMESPACE = "general.sampling."
_NAMES = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
    "mirostat": "mirostat",
    "xtc_probability": "xtc_probability",
}
"""generation_config.json's names by GGUF's; the keys left out only tune one of these."""


def recommended_sampling(file: GGUFFile) -> dict[str, Any]:
    """Returns fields of generation_config.json; empty if the file recommends nothing."""
    found = {
        theirs: _number(file, ours)
        for ours, theirs in _NAMES.items()
        if _NAMESPACE + ours in file.metadata
    }
    if "temperature" in found:
        found["do_sample"] = found["temperature"] > 0
    return found


def _number(file: GGUFFile, name: str) -> int | float:
    value = file.metadata[_NAMESPACE + name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CheckpointError(
            f"{file.path}: {_NAMESPACE}{name} must be a number, got {short(value)}"
        )
    return float(f"{value:.7g}") if isinstance(value, float) else value  # it is stored as f32
