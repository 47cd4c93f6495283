"""What an int4 engine takes over from a checkpoint that has 4-bit codes already."""

from __future__ import annotations

from llmasos.engine.native_engine import GROUP

from llmasos_builder.architectures import Network, matrices_in_int8
from llmasos_builder.checkpoint import Weights, int4_group_of, stored_bits_of
from llmasos_builder.options import BuildOptions


def int4_layout(
    network: Network, weights: Weights, options: BuildOptions
) -> tuple[tuple[str, ...], int | None]:
    """Returns the matrices of an int4 engine that stay in int8, and the group of the others."""
    if options.precision != "int4":
        return (), None
    bits = stored_bits_of(weights)
    return matrices_in_int8(network, options.int4_except, bits), int4_group_of(weights)


def why_codes_are_lost(network: Network, weights: Weights) -> str | None:
    """Says what of a checkpoint's int4 codes a native engine cannot keep."""
    group = int4_group_of(weights)
    if group is not None and group % GROUP:
        return f"native engines have int4 groups of {GROUP}, the checkpoint {group}"
    finer = set(matrices_in_int8(network, (), stored_bits_of(weights)))
    finer -= set(matrices_in_int8(network))
    named = sorted(n for n in finer if network.role_of(f"{n}.weight") != "head")
    if named:
        return f"native engines have one precision, and the checkpoint has {named[0]} in 8 bits"
    return None
