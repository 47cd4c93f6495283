"""Rewrites attention that is written out in the IR to read the blocks of a KV cache.

A network whose scores paged attention cannot compute (they have a soft cap) holds its attention
as separate operations, with earlier keys and values in its state. Here blocks gathered from a
cache replace each state, and the keys and values that would join the state become outputs, which
the runtime writes into the blocks. Masks stay the IR's own: its attention_mask says which tokens
of the gathered blocks are valid.
"""

from __future__ import annotations

import numpy as np
from llmasos.engine.engine_io import BEAM_IDX, OPENVINO_BLOCK_SIZE, cache_of_state
from llmasos.openvino_import import ops, ov

BLOCK_TABLE = "block_table"
"""The input [B, M], i64: the blocks of each row's past, at least one."""


def is_written_out(model: ov.Model) -> bool:
    """True if the IR has attention that the paged transformation does not know."""
    return all(node.get_type_name() != "ScaledDotProductAttention" for node in model.get_ops())


def new_name(cache: str) -> str:
    """The name of the output with the keys or values that join this cache, [B, H, S, D]."""
    return f"{cache}.new"


def gather_blocks(model: ov.Model, kind: ov.Type) -> None:
    """Replaces the states by caches of this element type and one block table."""
    table = _parameter(BLOCK_TABLE, [-1, -1], ov.Type.i64)
    model.add_parameters([table])
    for assign in model.get_sinks():
        name = cache_of_state(assign.get_variable_id())
        past, new = assign.input_value(0).get_node().input_values()
        _, num_heads, _, head_size = past.get_partial_shape()
        shape = [-1, num_heads.get_length(), OPENVINO_BLOCK_SIZE, head_size.get_length()]
        cache = _parameter(name, shape, kind)
        gathered = ops.convert(_gather(cache, table, shape), past.get_element_type())
        for consumer in past.get_target_inputs():
            consumer.replace_source_output(gathered.output(0))
        joins = ops.convert(new, kind)
        joins.output(0).get_tensor().set_names({new_name(name)})
        model.add_parameters([cache])
        model.add_results([ops.result(joins)])
        model.remove_sink(assign)
    for variable in model.get_variables():
        model.remove_variable(variable)
    model.remove_parameter(model.input(BEAM_IDX).get_node())
    model.validate_nodes_and_infer_types()


def _gather(cache: ov.Node, table: ov.Node, shape: list[int]) -> ov.Node:
    """Gathers [B, H, M * block_size, D] by head and block at once, so that nothing is
    transposed.
    """
    _, num_heads, block_size, head_size = shape
    of_all_heads = ops.reshape(cache, np.array([-1, block_size, head_size]), special_zero=False)
    first = ops.multiply(ops.unsqueeze(table, np.int64(1)), np.int64(num_heads))
    rows = ops.add(first, ops.constant(np.arange(num_heads)[None, :, None]))
    blocks = ops.gather(of_all_heads, rows, np.int64(0))
    return ops.reshape(blocks, np.array([0, 0, -1, head_size]), special_zero=True)


def _parameter(name: str, shape: list[int], kind: ov.Type) -> ov.Node:
    parameter = ops.parameter(shape, kind, name=name)
    parameter.output(0).get_tensor().set_names({name})
    return parameter
