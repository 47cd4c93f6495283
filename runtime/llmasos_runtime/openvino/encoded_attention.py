"""Rewrites a decoder's attention to its encoder to read the blocks of the KV cache.

OpenVINO's paged attention writes the keys and values of a step's tokens, and attends to those and
to all before them. Here each token of the decoder is a sequence of its own whose last key and value
are those of the encoder's last token: they are read from the cache and written where they came
from, so that the whole text is seen and nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from llmasos.engine.engine_io import CACHE_PARTS, ENCODED_MASK, cache_name, encoded_name
from llmasos.openvino_import import PagedAttention, ops, ov

from llmasos_runtime.packing import ENCODER_BLOCKS, ENCODER_BLOCKS_BEGINS, ENCODER_PAST_LENS

_ATTENTION = "ScaledDotProductAttention"


def has_encoder(model: ov.Model) -> bool:
    """True if the IR attends to the tokens of an encoder."""
    return any(ENCODED_MASK in port.get_names() for port in model.inputs)


def attend_in_blocks(model: ov.Model, caches: Mapping[str, ov.Node]) -> None:
    """Replaces each cross-attention, and its inputs, by paged attention over these caches.

    caches: inputs [blocks, H, block size, D], by their names.
    """
    inputs = _Inputs(model)
    for layer in range(len(caches) // 2):
        key, value = (model.input(encoded_name(part, layer)).get_node() for part in CACHE_PARTS)
        (attention,) = (target.get_node() for target in key.output(0).get_target_inputs())
        assert attention.get_type_name() == _ATTENTION
        pair = [caches[cache_name(part, layer)] for part in CACHE_PARTS]
        attended = _attend(attention, pair, inputs)
        for target in attention.output(0).get_target_inputs():
            target.replace_source_output(attended.output(0))
        model.remove_parameter(key)
        model.remove_parameter(value)
    model.remove_parameter(model.input(ENCODED_MASK).get_node())


class _Inputs:
    """What all layers share, for T tokens of the decoder.

    past_lens [T]: the tokens of each one's encoder but the last. begins [T + 1]: 0 to T. blocks: of
    the encoders, one behind the other; block_begins [T + 1].
    """

    def __init__(self, model: ov.Model) -> None:
        names = (ENCODER_PAST_LENS, ENCODER_BLOCKS, ENCODER_BLOCKS_BEGINS)
        made = [ops.parameter([-1], ov.Type.i32, name=name) for name in names]
        for name, one in zip(names, made, strict=True):
            one.output(0).get_tensor().set_names({name})
        model.add_parameters(made)
        self.past_lens, self.blocks, self.block_begins = made
        count = ops.squeeze(ops.shape_of(self.block_begins, "i32"), np.int64(0))
        self.begins = ops.range(np.int32(0), count, np.int32(1), "i32")
        self.longest = ops.add(ops.reduce_max(self.past_lens, np.int64(0)), np.int32(1))

    def last_rows(self, num_heads: int, block_size: int) -> ov.Node:
        """[T, H]: the row of each head of the last token among blocks x heads x tokens."""
        ends = ops.slice(
            self.block_begins, np.array([1]), np.array([2**31 - 1]), np.array([1]), np.array([0])
        )
        block = ops.gather(self.blocks, ops.subtract(ends, np.int32(1)), np.int64(0))
        first = ops.multiply(ops.convert(block, "i64"), np.int64(num_heads * block_size))
        offset = ops.convert(ops.mod(self.past_lens, np.int32(block_size)), "i64")
        heads = ops.constant(np.arange(num_heads, dtype=np.int64)[None] * block_size)
        return ops.add(ops.unsqueeze(ops.add(first, offset), np.int64(1)), heads)


def _attend(attention: ov.Node, caches: Sequence[ov.Node], inputs: _Inputs) -> ov.Node:
    """Returns what `attention`, [B, H, S, D], gives; B * S is the number of tokens."""
    query, scale = attention.input_value(0), attention.input_value(4)
    _, *sizes = caches[0].get_output_partial_shape(0)
    num_heads, block_size, head_size = (size.get_length() for size in sizes)
    width = np.array([-1, num_heads * head_size])
    by_token = ops.transpose(query, np.array([0, 2, 1, 3]))
    rows = inputs.last_rows(num_heads, block_size)

    def last(cache: ov.Node) -> ov.Node:
        flat = ops.reshape(cache, np.array([-1, head_size]), special_zero=False)
        heads = ops.convert(ops.gather(flat, rows, np.int64(0)), ov.Type.f32)
        return ops.reshape(heads, width, special_zero=False)

    arguments = [
        ops.reshape(by_token, width, special_zero=False),
        *map(last, caches),
        *caches,
        *(inputs.past_lens, inputs.begins, inputs.blocks, inputs.block_begins),
        scale,
        *_unused(inputs.longest),
    ]
    paged = PagedAttention(
        [one if isinstance(one, ov.Output) else one.output(0) for one in arguments]
    )
    info = paged.get_rt_info()
    for part in "kv":
        info[f"num_{part}_heads"], info[f"{part}_head_size"] = num_heads, head_size
    heads = ops.reshape(paged.output(0), ops.shape_of(by_token), special_zero=False)
    return ops.transpose(heads, np.array([0, 2, 1, 3]))


def _unused(longest: ov.Node) -> list[ov.Node]:
    """The operation's other inputs, as `paged_attention_transformation` gives them where there is
    no window, ALiBi, sink, eviction or sparsity. longest: the input among them that is used.
    """

    def none(kind: type[np.generic], axes: int = 1) -> ov.Node:
        return ops.constant(np.zeros([0] * axes, kind))

    zero = ops.constant(np.int32(0))
    return [
        *(zero, none(np.float32), longest),
        *(none(np.int32), none(np.int32), none(np.int32)),
        *(none(np.float32), none(np.float32), zero, zero, none(np.float32, 4), zero),
        *(none(np.int32), none(np.int32), none(np.int32), none(np.int32)),
        *(none(np.uint8), none(np.int32)),
    ]
