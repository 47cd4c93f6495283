"""Rotary positions as config.json describes them.

transformers 4 writes `rope_theta` beside `rope_scaling`, transformers 5 both as
`rope_parameters`. `rotary_kinds` computes the kinds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from llmasos.errors import CheckpointError

from llmasos_builder.architectures.config import Config
from llmasos_builder.architectures.decoder.rotary_kinds import KINDS, Plain, Rotary, original_length

_PART = "partial_rotary_factor"
_ORIGINAL = "original_max_position_embeddings"
_OLDER_NAMES = {"su": "longrope"}  # as the first Phi-3 with long texts called it
_COMMON = frozenset(
    {
        "rope_type",
        "type",
        "rope_theta",
        _PART,
        _ORIGINAL,
    }
)
_WITHOUT_FACTOR = ("default", "linear", "dynamic", "llama3")


@dataclass(frozen=True, slots=True, kw_only=True)
class RotaryFields:
    """An architecture's supported rotary positions and the names of their fields.

    theta, part: names of the fields for the base and for the rotated part of each head.
    default_part: its default; None means that heads are always rotated whole. kinds: the supported
    kinds; those of the default scale no scores. default_original: default of the length before
    training for longer texts; None is the trained length.
    """

    theta: str = "rope_theta"
    default_theta: float = 10000.0
    part: str = _PART
    default_part: float | None = None
    kinds: tuple[str, ...] = _WITHOUT_FACTOR
    default_original: int | None = None


LLAMA_ROTARY = RotaryFields(kinds=tuple(KINDS))


def rotary_frequencies(
    config: Config, *, head_size: int, fields: RotaryFields
) -> tuple[float, ...]:
    """Returns the frequencies of `rotary`, for a kind without other parameters."""
    found = rotary(config, head_size=head_size, fields=fields)
    assert found.scale == 1.0 and found.long is None
    return found.frequencies


def rotary(config: Config, *, head_size: int, fields: RotaryFields = LLAMA_ROTARY) -> Rotary:
    """Returns one frequency for each rotated pair of a head's elements.

    Raises UnsupportedArchitectureError for a kind or parameter that is not supported.
    """
    parameters = _parameters(config, fields)
    theta = _agreeing(config, fields.theta, parameters, "rope_theta", fields.default_theta)
    if fields.theta != "rope_theta":
        config.must_be("rope_theta", theta)
    config.ignore(_ORIGINAL)  # but for the kinds that read it
    size = _rotated_size(config, parameters, head_size, fields)
    kind = _kind(parameters, fields.kinds)
    frequencies = theta ** -(np.arange(0, size, 2) / size)
    given = Plain(
        frequencies=frequencies,
        theta=theta,
        parameters=parameters,
        config=config,
        default_original=fields.default_original,
    )
    return KINDS[kind].make(given)


def longest_text(config: Config) -> int:
    """Returns the longest sequence that a network supports: yarn extends the trained length."""
    trained = config.size("max_position_embeddings")
    parameters = _parameters(config, LLAMA_ROTARY)
    if _kind_field(parameters) != "yarn":
        return trained
    original = original_length(config, parameters, None) or trained
    return max(trained, int(original * parameters.number("factor", 1.0)))


def _parameters(config: Config, fields: RotaryFields) -> Config:
    """Returns the object of either name. If both exist, transformers reads rope_scaling alone."""
    scaling, parameters = config.section("rope_scaling"), config.section("rope_parameters")
    if scaling is None or not scaling.names():
        return parameters or Config({})
    if parameters is not None and parameters.names():
        known = {
            "rope_theta": config.number(fields.theta, fields.default_theta),
            _PART: config.number(fields.part, fields.default_part or 1.0),
        }
        first, second = (_complete(given, known) for given in (scaling, parameters))
        for name in sorted(first.names() | second.names()):
            first.must_be_in_both(name, second)
    return scaling


def _complete(parameters: Config, known: dict[str, float]) -> Config:
    """Adds the fields beside the object, and renames the kind's field to the newer name."""
    absent = {name: value for name, value in known.items() if not parameters.has(name)}
    return parameters.replaced(**absent, rope_type=_kind_field(parameters)).without("type")


def _agreeing(config: Config, field: str, parameters: Config, inner: str, default: float) -> float:
    """Returns a number given beside the parameters or among them; refuses values that differ."""
    beside = config.number(field, default)
    among = parameters.number(inner, beside)
    if config.has(field) and among != beside:
        raise parameters.unsupported(inner, f"but beside it {field} is {beside}")
    return among


def _rotated_size(config: Config, parameters: Config, head_size: int, fields: RotaryFields) -> int:
    """Returns the number of rotated elements of each head."""
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


def _kind(parameters: Config, kinds: tuple[str, ...]) -> str:
    """Returns the kind; raises if it is not supported or has a parameter that it cannot have."""
    kind = _kind_field(parameters)
    if kind not in kinds:
        verb = "are" if len(kinds) > 1 else "is"
        field = "rope_type" if parameters.has("rope_type") else "type"
        raise parameters.unsupported(field, f"{', '.join(kinds)} {verb} supported")
    for name in sorted(parameters.names() - _COMMON - KINDS[kind].parameters):
        raise parameters.unsupported(name, f"which {kind} rotary positions do not have")
    return kind


def _kind_field(parameters: Config) -> str:
    field = "rope_type" if parameters.has("rope_type") else "type"
    parameters.must_agree("rope_type", parameters, "type")
    kind = parameters.text(field, "default")
    return _OLDER_NAMES.get(kind, kind)
