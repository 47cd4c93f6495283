"""Amounts of memory as people write them: `8GB`, `512MiB`, a number of bytes."""

from __future__ import annotations

import re
from decimal import Decimal

from llmasos.errors import InvalidRequestError

_UNITS = {
    "": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_STEP = 1000


def parse_bytes(text: str, *, name: str) -> int:
    """Returns bytes; units count in thousands (GB) or in 1024s (GiB).

    name: the name of the value in an InvalidRequestError.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text, re.ASCII)
    if match is None or match[2].lower() not in _UNITS:
        raise InvalidRequestError(
            f"{name} must be a number of bytes such as 8GB, 512MiB or 1000000, got {text!r}"
        )
    return int(Decimal(match[1]) * _UNITS[match[2].lower()])  # a float would round, or overflow


def format_bytes(size: float) -> str:
    """Formats a size in the largest unit of thousands that leaves a digit before the point: `1.3
    GB`.
    """
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < _STEP:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _STEP
    return f"{size:.1f} TB"
