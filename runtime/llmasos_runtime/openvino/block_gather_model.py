"""Rewrites attention that is written out in the IR to read the blocks of a KV cache.

A network whose scores paged attention cannot compute (they have a soft cap) holds its attention
as separate operations, with earlier keys and values in its state. Here blocks gathered from a
cache replace each state, and the keys and values that would join the state become outputs, which
the runtime writes into the blocks. Masks stay the IR's own: its attention_mask says which tokens
of the gathered blocks are valid.
"""

from __future__ import annotations

import numpy as np
from llmasos.engine.engine_io import (
    BEAM_IDX,
    OPENVINO_BLOCK_SIZE,
    cache_of_state,
    is_encoded_key,
)
from llmasos.openvino_import import ops, ov

BLOCK_TABLE = "block_table"
"""The input [B, M], i64: the parts of blocks of each row's past, at least one.

Part p of block b has the number b * (block size / GATHERED_TOKENS) + p.
"""
GATHERED_TOKENS = 8
"""Tokens of a part of a block, so that a short past is not gathered in whole blocks."""
_PARTS = OPENVINO_BLOCK_SIZE // GATHERED_TOKENS


def is_written_out(model: ov.Model) -> bool:
    """True if the IR has attention over its own past that the paged transformation does not
    know.
    """
    kinds = [node.get_type_name() for node in model.get_ops()]
    num_cross = sum(is_encoded_key(name) for port in model.inputs for name in port.get_names())
    return kinds.count("ScaledDotProductAttention") == num_cross


def new_name(cache: str) -> str:
    """The name of the output with the keys or values that join this cache, [B, H, S, D]."""
    return f"{cache}.new"


def gather_blocks(model: ov.Model, kind: ov.Type) -> dict[str, ov.Node]:
    """Replaces the states by caches of this element type and one block table; returns the caches by
    their names.
    """
    table = _parameter(BLOCK_TABLE, [-1, -1], ov.Type.i64)
    model.add_parameters([table])
    caches: dict[str, ov.Node] = {}
    for assign in model.get_sinks():
        name = cache_of_state(assign.get_variable_id())
        past, new = assign.input_value(0).get_node().input_values()
        _, num_heads, _, head_size = past.get_partial_shape()
        shape = [-1, num_heads.get_length(), OPENVINO_BLOCK_SIZE, head_size.get_length()]
        cache = _parameter(name, shape, kind)
        gathered = ops.convert(_gather(cache, table, shape), past.get_element_type())
        for consumer in past.get_target_inputs():
            consumer.replace_source_output(gathered.output(0))
        caches[name] = cache
        joins = ops.convert(new, kind)
        joins.output(0).get_tensor().set_names({new_name(name)})
        model.add_parameters([cache])
        model.add_results([ops.result(joins)])
        model.remove_sink(assign)
    for variable in model.get_variables():
        model.remove_variable(variable)
    model.remove_parameter(model.input(BEAM_IDX).get_node())
    model.validate_nodes_and_infer_types()
    return caches


def _gather(cache: ov.Node, table: ov.Node, shape: list[int]) -> ov.Node:
    """Gathers [B, H, M * GATHERED_TOKENS, D] by head and part at once, so that nothing is
    transposed.
    """
    _, num_heads, _, head_size = shape
    parts = ops.reshape(cache, np.array([-1, GATHERED_TOKENS, head_size]), special_zero=False)
    part = ops.unsqueeze(ops.mod(table, np.int64(_PARTS)), np.int64(1))
    block = ops.unsqueeze(ops.divide(table, np.int64(_PARTS)), np.int64(1))
    heads = ops.constant(np.arange(num_heads)[None, :, None] * _PARTS)
    first = ops.add(ops.multiply(block, np.int64(num_heads * _PARTS)), part)
    gathered = ops.gather(parts, ops.add(first, heads), np.int64(0))
    return ops.reshape(gathered, np.array([0, 0, -1, head_size]), special_zero=True)


def _parameter(name: str, shape: list[int], kind: ov.Type) -> ov.Node:
    parameter = ops.parameter(shape, kind, name=name)
    parameter.output(0).get_tensor().set_names({name})
    return parameter
