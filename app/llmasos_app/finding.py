"""One line of what `llmasos doctor` shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """is_problem: something that the product needs is missing, or cannot be used."""

    subject: str
    text: str
    is_problem: bool = False
