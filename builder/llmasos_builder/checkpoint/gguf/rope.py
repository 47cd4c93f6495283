"""Reads rotary positions from a GGUF file.

llama.cpp divides every frequency by `rope.scaling.factor` (in older files `rope.scale_linear`)
whatever `rope.scaling.type` says, unless it says `none`; a missing type is `linear`. yarn changes
frequencies in part, and multiplies cosines and sines by `rope.scaling.attn_factor` and by a
function of the factor.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llmasos.errors import CheckpointError, UnsupportedArchitectureError
from numpy.typing import NDArray

from llmasos_builder.checkpoint.gguf.header import TensorEntry
from llmasos_builder.checkpoint.gguf.metadata import Metadata
from llmasos_builder.rope_factors import llama3_factors

# Llama 3.1's published scaling; GGUF keeps only the factors that it gives.
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LLAMA3_ORIGINAL_LENGTH = 8192
_BASE = 10000.0
_MOST_FACTORS = 1 << 16
_YARN_DEFAULTS = {"yarn_beta_fast": 32.0, "yarn_beta_slow": 1.0, "yarn_ext_factor": 1.0}


def rotary_fields(
    metadata: Metadata,
    *,
    name: str = "rope_theta",
    default_base: float = _BASE,
    scaling: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the base, under its name in config.json, and rope_scaling, unless that is given.

    Raises UnsupportedArchitectureError for what config.json cannot express.
    """
    return {
        name: metadata.number("rope.freq_base", default_base),
        "rope_scaling": scaling or _scaling(metadata),
    }


def check_whole_heads_rotate(metadata: Metadata, head_size: int) -> None:
    if metadata.integer("rope.dimension_count", head_size) != head_size:
        raise UnsupportedArchitectureError(
            f"{metadata.file.path} rotates a part of each head, which is not supported for "
            f"{metadata.architecture}"
        )


def rope_factors(metadata: Metadata) -> dict[str, Any] | None:
    """Returns longrope's factors, which are tensors; only models for long texts have them."""
    file = metadata.file
    names = {key: f"rope_factors_{key}.weight" for key in ("short", "long")}
    found = {key: file.tensors[name] for key, name in names.items() if name in file.tensors}
    if not found:
        return None
    metadata.must_be("rope.scaling.type", "longrope")
    for key in ("rope.scaling.factor", "rope.scale_linear"):
        metadata.must_be(key, 1.0, 0.0)
    return {
        "rope_type": "longrope",
        **{f"{key}_factor": _factors(metadata, entry).tolist() for key, entry in found.items()},
        "attention_factor": metadata.number("rope.scaling.attn_factor", 1.0),
    }


def llama3_scaling(metadata: Metadata, head_dim: int) -> dict[str, Any] | None:
    """Returns the published parameters that give the factors in `rope_freqs.weight`."""
    file = metadata.file
    if "rope_freqs.weight" not in file.tensors:
        return None
    if _scaling(metadata) is not None:
        raise UnsupportedArchitectureError(
            f"{file.path} has both rope_freqs.weight and {metadata.architecture}.rope.scaling, "
            "one of which is supported"
        )
    stored = _factors(metadata, file.tensors["rope_freqs.weight"])
    theta = metadata.number("rope.freq_base", _BASE)
    return _llama3(stored, head_dim=head_dim, theta=theta, path=str(file.path))


def _factors(metadata: Metadata, entry: TensorEntry) -> NDArray[np.float32]:
    """Returns one factor for each pair of a head; their number is bounded."""
    if math.prod(entry.shape) > _MOST_FACTORS:
        raise CheckpointError(
            f"{metadata.file.path}: tensor {entry.name} has the shape {list(entry.shape)}, at most "
            f"{_MOST_FACTORS} factors are read"
        )
    return metadata.file.read(entry).ravel()


def _llama3(
    stored: NDArray[np.float32], *, head_dim: int, theta: float, path: str
) -> dict[str, Any]:
    """Raises if no published parameters give the stored factors."""
    scaling = {
        "rope_type": "llama3",
        "factor": float(stored.max()),
        **_LLAMA3,
        "original_max_position_embeddings": _LLAMA3_ORIGINAL_LENGTH,
    }
    given = llama3_factors(scaling, head_dim=head_dim, theta=theta)
    if given.shape != stored.shape or not np.allclose(given, stored, rtol=1e-3):
        raise UnsupportedArchitectureError(
            f"{path}: the factors in rope_freqs.weight are not those of Llama 3, and no others "
            "are supported"
        )
    return scaling


def _scaling(metadata: Metadata) -> dict[str, Any] | None:
    kind = metadata.text("rope.scaling.type", "linear")
    factor = _factor(metadata)
    if kind == "none" or (kind in {"linear", "yarn"} and factor == 1.0):
        metadata.must_be("rope.scaling.attn_factor", 1.0)
        _check_yarn(metadata, factor=1.0)
        return None
    if kind == "yarn":
        return _yarn(metadata, factor)
    metadata.must_be("rope.scaling.attn_factor", 1.0)
    return {"rope_type": kind, "factor": factor}


def _factor(metadata: Metadata) -> float:
    """Returns the factor; in llama.cpp 0 means "not set"."""
    older = metadata.number("rope.scale_linear", None)
    newer = metadata.number("rope.scaling.factor", older)
    if older is not None and (older or 1.0) != (newer or 1.0):
        metadata.must_be("rope.scale_linear", newer)
    factor = float(newer or 1.0)
    if not 0 < factor < math.inf:
        raise CheckpointError(
            f"{metadata.file.path}: {metadata.architecture}.rope.scaling.factor must be a number "
            f"above 0, got {factor}"
        )
    return factor


def _yarn(metadata: Metadata, factor: float) -> dict[str, Any]:
    _check_yarn(metadata, factor=factor)
    original = metadata.integer("rope.scaling.original_context_length", None)
    stretched = metadata.number("rope.scaling.attn_factor", 1.0)
    return {
        "rope_type": "yarn",
        "factor": factor,
        **({"original_max_position_embeddings": original} if original else {}),
        **({} if stretched == 1.0 else {"attention_factor": stretched * _growth(factor)}),
    }


def _check_yarn(metadata: Metadata, *, factor: float) -> None:
    """Refuses changed values: llama.cpp ignores these keys for most architectures."""
    for key, value in _YARN_DEFAULTS.items():
        metadata.must_be(f"rope.scaling.{key}", value, *((-1.0,) if "ext" in key else ()))
    given = metadata.number("rope.scaling.yarn_attn_factor", None)
    if given is not None and not math.isclose(given, _growth(factor), rel_tol=1e-5):
        metadata.must_be("rope.scaling.yarn_attn_factor", _growth(factor))


def _growth(factor: float) -> float:
    """Factor by which yarn multiplies cosines and sines."""
    return 0.1 * math.log(factor) + 1.0 if factor > 1.0 else 1.0
