"""The frequencies of rotary positions, as config.json gives them.

transformers 4 writes `rope_theta` beside `rope_scaling`, transformers 5 both as
`rope_parameters`. The kinds and their formulas are those of its `modeling_rope_utils`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from llmasos.errors import CheckpointError
from numpy.typing import NDArray

from llmasos_builder.architectures.config import Config
from llmasos_builder.checkpoint.gguf_llama import llama3_factors

_PART = "partial_rotary_factor"
_COMMON = frozenset(
    {
        "rope_type",
        "type",
        "rope_theta",
        _PART,
        "original_max_position_embeddings",
    }
)
_OF_KIND = {
    "default": frozenset[str](),
    "linear": frozenset({"factor"}),
    "llama3": frozenset({"factor", "low_freq_factor", "high_freq_factor"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RotaryFields:
    """What rotary positions of an architecture may be, and how config.json calls them.

    theta, part: fields of the base, and of the part of each head that is rotated. default_part:
    where config.json does not say; None means that heads are always rotated whole. kinds: those
    that are supported.
    """

    theta: str = "rope_theta"
    default_theta: float = 10000.0
    part: str = _PART
    default_part: float | None = None
    kinds: tuple[str, ...] = tuple(_OF_KIND)


LLAMA_ROTARY = RotaryFields()


def rotary_frequencies(
    config: Config, *, head_size: int, fields: RotaryFields = LLAMA_ROTARY
) -> tuple[float, ...]:
    """Radians per position, one for each two elements of a head that are rotated.

    Raises UnsupportedArchitectureError for a kind or a parameter that is not supported.
    """
    parameters = _parameters(config)
    theta = _agreeing(config, fields.theta, parameters, "rope_theta", fields.default_theta)
    if fields.theta != "rope_theta":
        config.must_be("rope_theta", theta)
    size = _rotated_size(config, parameters, head_size, fields)
    frequencies = theta ** -(np.arange(0, size, 2) / size)
    factors = _factors(parameters, size, theta, fields.kinds)
    return tuple(float(f) for f in frequencies / factors)


def _parameters(config: Config) -> Config:
    scaling, parameters = config.section("rope_scaling"), config.section("rope_parameters")
    if scaling is not None and parameters is not None:
        raise config.unsupported("rope_scaling", "and rope_parameters is given too")
    return parameters or scaling or Config({})


def _agreeing(config: Config, field: str, parameters: Config, inner: str, default: float) -> float:
    """A number that is given beside the parameters, among them, or in both places alike."""
    beside = config.number(field, default)
    among = parameters.number(inner, beside)
    if config.has(field) and among != beside:
        raise parameters.unsupported(inner, f"but beside it {field} is {beside}")
    return among


def _rotated_size(config: Config, parameters: Config, head_size: int, fields: RotaryFields) -> int:
    """How many elements of each head are rotated."""
    size = head_size
    if fields.default_part is None:
        for given in (config, parameters):
            given.must_be(_PART, 1.0)
    else:
        part = _agreeing(config, fields.part, parameters, _PART, fields.default_part)
        size = int(head_size * part)
        if fields.part != _PART:
            config.must_be(_PART, part)
    if size % 2 or not 2 <= size <= head_size:
        raise CheckpointError(
            f"config.json: heads of {head_size} elements cannot be rotated"
            + ("" if size == head_size else f" in {size} of them")
        )
    return size


def _factors(
    parameters: Config, size: int, theta: float, kinds: tuple[str, ...]
) -> NDArray[np.float64] | float:
    """By what each frequency of `size` elements is divided."""
    field = "rope_type" if parameters.has("rope_type") else "type"
    kind = parameters.text(field, "default")
    if kind not in kinds:
        verb = "are" if len(kinds) > 1 else "is"
        raise parameters.unsupported(field, f"{', '.join(kinds)} {verb} supported")
    for name in sorted(parameters.names() - _COMMON - _OF_KIND[kind]):
        raise parameters.unsupported(name, f"which {kind} rotary positions do not have")
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
    return llama3_factors(scaling, head_dim=size, theta=theta)
