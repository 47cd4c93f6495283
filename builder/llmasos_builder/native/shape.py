"""What the machine code of a step depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from llmasos_builder.graph import Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class StepShape:
    """What machine code depends on; all other sizes are numbers that a step is told.

    bits: of the layers' weights. head: the padded size of heads. query_heads: how many share a
    head of keys. layer_norm: norms are LayerNorm, else RMSNorm. gated: the MLP has a gate.
    parallel: attention and MLP read the same input, and their outputs are added to it.
    part_norms: what a part adds is normalized first. score_cap, logit_cap: soft caps, if any.
    slopes: scores have ALiBi's. embedding_norm: the embeddings are normalized.
    """

    bits: int
    head: int
    query_heads: int
    activation: Activation
    layer_norm: bool = False
    gated: bool = True
    parallel: bool = False
    part_norms: bool = False
    score_cap: float | None = None
    logit_cap: float | None = None
    slopes: bool = False
    embedding_norm: bool = False


class LayerKind(NamedTuple):
    """What all layers have in common that machine code depends on: fields of `StepShape`."""

    activation: Activation
    gated: bool
    parallel: bool
    part_norms: bool
    score_cap: float | None
    slopes: bool
