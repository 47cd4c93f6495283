"""What a request may ask of a search of beams."""

from __future__ import annotations

from llmasos.errors import InvalidRequestError, UnsupportedFieldError
from llmasos.sampling import SamplingParams


def check_beams(params: SamplingParams) -> None:
    """Raises InvalidRequestError or UnsupportedFieldError for what beams cannot do."""
    if params.n > params.beam_width:
        raise InvalidRequestError(
            f"n must be at most beam_width, which is {params.beam_width}, got {params.n}"
        )
    if params.temperature > 0.0:
        raise InvalidRequestError(
            f"temperature must be 0 where beam_width is above 1, got {params.temperature:g}"
        )
    if params.guide is not None:
        raise UnsupportedFieldError(
            f"guide is not supported where beam_width is above 1, got beam_width "
            f"{params.beam_width}"
        )
