"""Kinds of rotary positions and how each changes the plain frequencies.

The kinds, their formulas and their defaults are those of transformers' `modeling_rope_utils`:
linear (kaiokendev, 2023), dynamic (which changes nothing within the trained length), llama3
(Llama 3.1's reference implementation), yarn (Peng et al., arXiv:2309.00071) and longrope (Ding et
al., arXiv:2402.13753).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmasos_builder.architectures.config import Config
from llmasos_builder.architectures.decoder.spec import LongRotary
from llmasos_builder.rope_factors import llama3_factors

_ORIGINAL = "original_max_position_embeddings"
_BETA_FAST, _BETA_SLOW = 32.0, 1.0
Frequencies = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotary:
    """Radians per position of each pair of elements.

    scale: factor of the rotated part's scores. long: other frequencies, if they depend on the
    length of sequences.
    """

    frequencies: tuple[float, ...]
    scale: float = 1.0
    long: LongRotary | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """Plain frequencies, and the inputs that a kind may use.

    parameters: the object that gives the kind. config: the whole config.json, whose lengths are the
    defaults of the kind's. default_original: see `RotaryFields`.
    """

    frequencies: Frequencies
    theta: float
    parameters: Config
    config: Config
    default_original: int | None = None

    @property
    def trained(self) -> int:
        return self.config.size("max_position_embeddings")

    @property
    def original(self) -> int:
        """The length before training for longer texts."""
        return original_length(self.config, self.parameters, self.default_original) or self.trained


def original_length(config: Config, parameters: Config, default: int | None) -> int | None:
    """Returns the original length, given beside the parameters or among them; None if it is
    missing.

    default: the value if nothing is given beside them.
    """
    if default is not None and not config.has(_ORIGINAL):
        config = config.replaced(**{_ORIGINAL: default})
    parameters.must_agree(_ORIGINAL, config, _ORIGINAL)
    where = config if config.has(_ORIGINAL) else parameters
    return where.size(_ORIGINAL) if where.has(_ORIGINAL) else None


def _default(given: Plain) -> Rotary:
    return Rotary(frequencies=_numbers(given.frequencies))


def _linear(given: Plain) -> Rotary:
    return Rotary(frequencies=_numbers(given.frequencies / given.parameters.number("factor")))


def _dynamic(given: Plain) -> Rotary:
    """Changes frequencies only beyond the trained length, which no engine exceeds."""
    given.parameters.number("factor")
    return _default(given)


def _llama3(given: Plain) -> Rotary:
    names = ("factor", "low_freq_factor", "high_freq_factor")
    scaling = {name: given.parameters.number(name) for name in names}
    if scaling["low_freq_factor"] >= scaling["high_freq_factor"]:
        raise given.parameters.wrong(
            "high_freq_factor", f"must be above low_freq_factor {scaling['low_freq_factor']}"
        )
    size = 2 * len(given.frequencies)
    scaling[_ORIGINAL] = given.original
    factors = llama3_factors(scaling, head_dim=size, theta=given.theta)
    return Rotary(frequencies=_numbers(given.frequencies / factors))


def _yarn(given: Plain) -> Rotary:
    """Divides slow frequencies by the factor, keeps fast ones, and blends those in between."""
    parameters, half = given.parameters, len(given.frequencies)
    grown = given.trained / given.original
    factor = parameters.number("factor", grown if grown > 1 else None)
    fast, slow = (
        parameters.number("beta_fast", _BETA_FAST),
        parameters.number("beta_slow", _BETA_SLOW),
    )
    ends = [_pair_that_turns(turns, given) for turns in (fast, slow)]
    if not parameters.is_null("truncate") and parameters.flag("truncate", True):
        ends = [math.floor(ends[0]), math.ceil(ends[1])]
    first, last = max(ends[0], 0.0), min(ends[1], 2 * half - 1.0)
    slowed = np.clip((np.arange(half) - first) / (last - first or 0.001), 0.0, 1.0)
    frequencies = given.frequencies * (slowed / factor + (1.0 - slowed))
    scale = parameters.number("attention_factor", _yarn_attention_factor(parameters, factor)) ** 2
    return Rotary(frequencies=_numbers(frequencies), scale=scale)


def _pair_that_turns(turns: float, given: Plain) -> float:
    """Index of the pair, counted from the fastest, that turns this often within the original
    length.
    """
    pairs = len(given.frequencies)
    return pairs * math.log(given.original / (turns * 2 * math.pi)) / math.log(given.theta)


def _yarn_attention_factor(parameters: Config, factor: float) -> float:
    def growth(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1.0 else 1.0

    if parameters.has("mscale") and parameters.has("mscale_all_dim"):
        return growth(parameters.number("mscale")) / growth(parameters.number("mscale_all_dim"))
    return growth(1.0)


def _longrope(given: Plain) -> Rotary:
    """Divides each frequency by a factor of its own, a different one in engines for long texts."""
    parameters, original = given.parameters, given.original
    factor = parameters.number("factor", given.trained / original)
    grown = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 < original else 1.0
    short, long = (
        _numbers(given.frequencies / parameters.numbers(name, len(given.frequencies)))
        for name in ("short_factor", "long_factor")
    )
    return Rotary(
        frequencies=short,
        scale=parameters.number("attention_factor", grown) ** 2,
        long=LongRotary(beyond=original, frequencies=long) if original < given.trained else None,
    )


def _numbers(values: Frequencies) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind: its function, and the parameters that only it has."""

    make: Callable[[Plain], Rotary]
    parameters: frozenset[str]


KINDS: Mapping[str, Kind] = {
    "default": Kind(_default, frozenset()),
    "linear": Kind(_linear, frozenset({"factor"})),
    "dynamic": Kind(_dynamic, frozenset({"factor"})),
    "llama3": Kind(_llama3, frozenset({"factor", "low_freq_factor", "high_freq_factor"})),
    "yarn": Kind(
        _yarn,
        frozenset(
            {
                "factor",
                "attention_factor",
                "beta_fast",
                "beta_slow",
                "mscale",
                "mscale_all_dim",
                "truncate",
                "finetuned",  # a note of who made it
            }
        ),
    ),
    "longrope": Kind(
        _longrope, frozenset({"factor", "attention_factor", "short_factor", "long_factor"})
    ),
}
