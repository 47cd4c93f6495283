"""Finds request parameters that were meant as inputs.

Over HTTP Triton takes every field that is not a tensor of the model for a parameter, and an
ensemble passes it on: a misspelt `temperature` would be silently ignored.
"""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import Any

from llmasos.contract.engine import ENGINE_INPUTS
from llmasos.contract.ensemble import ENSEMBLE_INPUTS
from llmasos.errors import InvalidRequestError

_INPUTS = tuple(tensor.name for tensor in ENSEMBLE_INPUTS)
_NAMES_ELSEWHERE = {
    **{tensor.name: "" for tensor in ENGINE_INPUTS},
    **{tensor.target: tensor.name for tensor in ENSEMBLE_INPUTS if tensor.model == "engine"},
}
_ALIKE = 0.8
_MAX_CHARACTERS = 1 << 14
_MAX_PARAMETERS = 128
_FIELDS = "over HTTP, a field that is no input of the model counts as one"


def read_parameters(text: str) -> dict[str, Any]:
    """Returns a request's parameters from a JSON object or nothing; raises InvalidRequestError."""
    if len(text) > _MAX_CHARACTERS:
        raise InvalidRequestError(
            f"the parameters of the request have {len(text)} characters, at most {_MAX_CHARACTERS}",
            hint=_FIELDS,
        )
    parameters: dict[str, Any] = json.loads(text or "{}")
    if len(parameters) > _MAX_PARAMETERS:
        raise InvalidRequestError(
            f"the request has {len(parameters)} parameters, at most {_MAX_PARAMETERS}", hint=_FIELDS
        )
    return parameters


def refuse_meant_inputs(parameters: str) -> None:
    """Raises InvalidRequestError for a parameter named, or nearly named, like an input.

    parameters: those of a request to the ensemble, a JSON object or nothing. Inputs of the engine
    count too.
    """
    for name in read_parameters(parameters):
        if name in _INPUTS:
            raise InvalidRequestError(f"{name} is an input of ensemble, and came as a parameter")
        if name in _NAMES_ELSEWHERE:
            meant = _NAMES_ELSEWHERE[name]
            said = f"it is called {meant} here" if meant else "the engine has it"
            raise InvalidRequestError(f"{name} is not an input of ensemble; {said}")
        for alike in get_close_matches(name, _INPUTS, n=1, cutoff=_ALIKE):
            raise InvalidRequestError(f"{name} is not an input of ensemble; is {alike} meant?")
