"""The frequencies of rotary positions, as config.json gives them.

transformers 4 writes `rope_theta` beside `rope_scaling`, transformers 5 both as
`rope_parameters`. The kinds and their formulas are those of its `modeling_rope_utils`.
"""

from __future__ import annotations

import numpy as np
from llmasos.errors import CheckpointError
from numpy.typing import NDArray

from llmasos_builder.architectures.config import Config
from llmasos_builder.checkpoint.gguf_config import llama3_factors

_DEFAULT_THETA = 10000.0
_COMMON = frozenset(
    {
        "rope_type",
        "type",
        "rope_theta",
        "partial_rotary_factor",
        "original_max_position_embeddings",
    }
)
_OF_KIND = {
    "default": frozenset[str](),
    "linear": frozenset({"factor"}),
    "llama3": frozenset({"factor", "low_freq_factor", "high_freq_factor"}),
}


def rotary_frequencies(config: Config, *, head_size: int) -> tuple[float, ...]:
    """Radians per position, one for each two elements of a head.

    Raises UnsupportedArchitectureError for a kind or a parameter that is not supported.
    """
    if head_size % 2:
        raise CheckpointError(f"config.json: heads of {head_size} elements cannot be rotated")
    parameters = _parameters(config)
    theta = _theta(config, parameters)
    frequencies = theta ** -(np.arange(0, head_size, 2) / head_size)
    return tuple(float(f) for f in frequencies / _factors(parameters, head_size, theta))


def _parameters(config: Config) -> Config:
    config.must_be("partial_rotary_factor", 1.0)
    scaling, parameters = config.section("rope_scaling"), config.section("rope_parameters")
    if scaling is not None and parameters is not None:
        raise config.unsupported("rope_scaling", "and rope_parameters is given too")
    return parameters or scaling or Config({})


def _theta(config: Config, parameters: Config) -> float:
    outer = config.number("rope_theta", _DEFAULT_THETA)
    inner = parameters.number("rope_theta", outer)
    if config.has("rope_theta") and inner != outer:
        raise parameters.unsupported("rope_theta", f"but beside it rope_theta is {outer}")
    return inner


def _factors(parameters: Config, head_size: int, theta: float) -> NDArray[np.float64] | float:
    """By what each frequency is divided."""
    field = "rope_type" if parameters.has("rope_type") else "type"
    kind = parameters.text(field, "default")
    if kind not in _OF_KIND:
        raise parameters.unsupported(field, f"{', '.join(_OF_KIND)} are supported")
    for name in sorted(parameters.names() - _COMMON - _OF_KIND[kind]):
        raise parameters.unsupported(name, f"which {kind} rotary positions do not have")
    parameters.must_be("partial_rotary_factor", 1.0)
    if kind == "default":
        return 1.0
    if kind == "linear":
        return parameters.number("factor")
    scaling = {name: parameters.number(name) for name in _OF_KIND[kind]}
    scaling["original_max_position_embeddings"] = parameters.size(
        "original_max_position_embeddings"
    )
    if scaling["low_freq_factor"] >= scaling["high_freq_factor"]:
        raise parameters.wrong(
            "high_freq_factor", f"must be above low_freq_factor {scaling['low_freq_factor']}"
        )
    return llama3_factors(scaling, head_dim=head_size, theta=theta)
