"""What a decoder's IR takes of its encoder: keys and values of each layer, and which are valid."""

from __future__ import annotations

from functools import cached_property

from llmasos.engine.engine_io import CACHE_PARTS, ENCODED_MASK, encoded_name
from llmasos.openvino_import import ops, ov

from llmasos_builder.openvino.attention import MASKED, floats, integer, integers, parameter


class EncodedInputs:
    """Keys and values [B, H, X, D] in f32, and a mask [B, X] in i64 that is 0 where there are none.

    The runtime puts blocks of its KV cache in their place. parameters: the inputs so far.
    """

    def __init__(self) -> None:
        self.parameters: list[ov.Node] = []
        self._num_layers = 0

    def next_layer(self, num_heads: int, head_size: int) -> tuple[ov.Node, ov.Node]:
        """The keys and values of the next layer."""
        key, value = (
            self._heads(encoded_name(part, self._num_layers), num_heads, head_size)
            for part in CACHE_PARTS
        )
        self._num_layers += 1
        return key, value

    @cached_property
    def mask(self) -> ov.Node:
        """[B, 1, 1, X], added to scores."""
        made = parameter(ENCODED_MASK, 2, ov.Type.i64)
        self.parameters.append(made)
        visible = ops.unsqueeze(ops.greater(made, integer(0)), integers(1, 2))
        return ops.select(visible, floats(0.0), floats(MASKED))

    def _heads(self, name: str, num_heads: int, head_size: int) -> ov.Node:
        made = ops.parameter([-1, num_heads, -1, head_size], ov.Type.f32, name=name)
        made.output(0).get_tensor().set_names({name})
        self.parameters.append(made)
        return made
