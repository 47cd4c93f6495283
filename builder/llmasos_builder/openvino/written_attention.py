"""Attention with a soft cap or a bias on scores, written out: OpenVINO's paged one has neither.

Scores over earlier tokens and over new ones are two products that are concatenated, so that the
keys and values of a long past are read in place and not copied to join the new ones. The runtime
recognizes such a network by its lack of ScaledDotProductAttention.
"""

from __future__ import annotations

from llmasos.openvino_import import ops, ov

from llmasos_builder.openvino.attention import (
    Extended,
    dimension,
    floats,
    integer,
    integers,
    width,
)


def written_attention(
    query: ov.Node,
    keys: Extended,
    values: Extended,
    *,
    mask: ov.Node,
    scale: float,
    cap: float | None,
) -> ov.Node:
    """softmax(soft_cap(scale * query @ keys.T) + mask) @ values, [B, H, S, D].

    query [B, H, S, D]; keys, values [B, H / n, T, D], each shared by n neighbouring heads, whose
    rows are stacked for it; mask [B, 1 or H, S, T].
    """
    num_heads, num_kv_heads = width(query, 1), width(keys.new, 1)
    tokens, length = dimension(query, 2), dimension(keys.total, 2)
    factor = scale if cap is None else scale / cap
    scaled = query if factor == 1 else ops.multiply(query, floats(factor))
    rows = _reshape(scaled, num_kv_heads, -1, width(query, 3))
    scores = ops.concat([ops.matmul(rows, part, False, True) for part in (keys.past, keys.new)], -1)
    scores = _reshape(scores, num_heads, tokens, length)
    if cap is not None:
        scores = ops.multiply(ops.tanh(scores), floats(cap))
    shares = _reshape(ops.softmax(ops.add(scores, mask), -1), num_kv_heads, -1, length)
    past, new = ops.variadic_split(
        shares, integer(-1), ops.concat([dimension(keys.past, 2), tokens], 0)
    ).outputs()
    attention = ops.add(
        ops.matmul(past, values.past, False, False), ops.matmul(new, values.new, False, False)
    )
    return _reshape(attention, num_heads, -1, width(values.new, 3))


def _reshape(x: ov.Node, *sizes: int | ov.Node) -> ov.Node:
    """Reshapes to [B, *sizes]."""
    shape = [integers(size) if isinstance(size, int) else size for size in (0, *sizes)]
    return ops.reshape(x, ops.concat(shape, 0), special_zero=True)
