"""What a generation config says of beam search, in the fields of SamplingParams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmasos.sampling import SamplingParams

BEAM_FIELDS = ("beam_width", "length_penalty", "early_stopping")
_NAMES = {"num_beams": "beam_width"}


def recommended_beams(said: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of beam search; none where the file asks for no beams, or for other ones.

    said: the file's fields that are not null.
    """
    if said.get("num_beams", 1) == 1 or beams_not_applied(said):
        return {}
    fields = ("num_beams", "length_penalty", "early_stopping")
    return {_NAMES.get(name, name): said[name] for name in fields if name in said}


def beams_not_applied(said: Mapping[str, Any]) -> dict[str, Any]:
    """What is not supported: draws among beams, and a search that never ends early."""
    if said.get("num_beams", 1) == 1:
        return {}
    draws = {"num_beams": said["num_beams"]} if said.get("do_sample") is True else {}
    is_known = isinstance(said.get("early_stopping", False), bool)
    return draws if is_known else {**draws, "early_stopping": said["early_stopping"]}


def may_search(chosen: Mapping[str, Any], params: SamplingParams) -> bool:
    """Whether recommended beams go with what the caller gave: beams are not drawn.

    chosen: the recommended values of the fields that the caller left open.
    """
    temperature = chosen.get("temperature", params.temperature)
    fits = chosen.get("n", params.n) <= chosen.get("beam_width", params.beam_width)
    return temperature == 0.0 and params.guide is None and fits
