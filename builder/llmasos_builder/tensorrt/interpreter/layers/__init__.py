"""The formula of each kind of layer, in float32, and one table of them all."""

from __future__ import annotations

from collections.abc import Mapping

from llmasos_builder.tensorrt.interpreter.layers import (
    arithmetic,
    attention,
    cache,
    normalization,
    quantized,
    rotary,
    selection,
    shapes,
)
from llmasos_builder.tensorrt.interpreter.layers.formula import Formula

FORMULAS: Mapping[str, Formula] = {
    **arithmetic.FORMULAS,
    **attention.FORMULAS,
    **cache.FORMULAS,
    **normalization.FORMULAS,
    **quantized.FORMULAS,
    **rotary.FORMULAS,
    **selection.FORMULAS,
    **shapes.FORMULAS,
}

__all__ = ["FORMULAS", "Formula"]
