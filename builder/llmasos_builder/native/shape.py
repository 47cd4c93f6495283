"""What the machine code of a step depends on."""

from __future__ import annotations

from dataclasses import dataclass

from llmasos_builder.graph import Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class StepShape:
    """What machine code depends on; all other sizes are numbers that a step is told.

    bits: of the layers' weights. head: the padded size of heads. query_heads: how many share a
    head of keys.
    """

    bits: int
    head: int
    query_heads: int
    activation: Activation
