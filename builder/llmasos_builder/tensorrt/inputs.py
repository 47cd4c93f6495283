"""The inputs of a TensorRT network's step, and tensors derived from them that all layers share.

Rows are padded to one length S. Each row is a sequence and has a KV slot of its own, which the
network writes from kv_write_index on; key j is visible to a token at position p if j <= p, so
that a row sees neither its padding nor what an earlier owner left in its slot.
Two optimization profiles: 0 is prefill, with few rows, so that its activations take little memory;
1 is decode, with S = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from llmasos.engine.engine_io import (
    DECODE_PROFILE,
    HIDDEN_STATES,
    INPUT_IDS,
    KV_WRITE_INDEX,
    LAST_TOKEN_INDEX,
    POSITION_IDS,
    PREFILL_PROFILE,
)

from llmasos_builder.tensorrt.layers import Layers
from llmasos_builder.tensorrt.options import NetworkOptions

_PREFILL_ROWS = 2
"""The most rows. A prefill has one, but TensorRT-RTX 1.7 does not compile masks of one row
alone.
"""


class Inputs:
    """The inputs, all in int32: input_ids and position_ids [B, S]; kv_write_index [B], the position
    in its slot of a row's first token; last_token_index [B], the index among the B * S tokens of
    each row's token whose next token is wanted. A pipeline stage has only those that it uses.
    """

    def __init__(self, layers: Layers, builder: Any, options: NetworkOptions) -> None:
        self._layers = layers
        self._options = options
        self.profiles = [builder.create_optimization_profile() for _ in range(2)]
        self._shapes: dict[tuple[int, ...], Any] = {}
        self._row_shapes: dict[int, Any] = {}
        int32 = layers.library.int32
        self.position_ids = self.add(POSITION_IDS, int32, (-1, -1), lambda b, s: (b, s))
        self.kv_write_index = self.add(KV_WRITE_INDEX, int32, (-1,), lambda b, _: (b,))

    def add(
        self,
        name: str,
        dtype: Any,
        shape: tuple[int, ...],
        at: Callable[[int, int], tuple[int, ...]],
    ) -> Any:
        """Adds an input; at: returns its shape with B rows of S tokens."""
        tensor = self._layers.definition.add_input(name, dtype, shape)
        assert tensor is not None, f"TensorRT refuses the input {name} {list(shape)}"
        dynamic = (axis for axis, size in enumerate(shape) if size == -1)
        for axis, size in zip(dynamic, ("batch", "length"), strict=False):
            tensor.set_dimension_name(axis, size)  # what has one name is one size
        most, longest = self._options.max_batch_size, self._options.prefill_length
        prefill, decode = self.profiles[PREFILL_PROFILE], self.profiles[DECODE_PROFILE]
        prefill.set_shape(name, at(1, 1), at(1, longest), at(_PREFILL_ROWS, longest))
        decode.set_shape(name, at(1, 1), at(most, 1), at(most, 1))
        return tensor

    @cached_property
    def input_ids(self) -> Any:
        int32 = self._layers.library.int32
        return self.add(INPUT_IDS, int32, (-1, -1), lambda b, s: (b, s))

    @cached_property
    def last_token_index(self) -> Any:
        return self.add(LAST_TOKEN_INDEX, self._layers.library.int32, (-1,), lambda b, _: (b,))

    @cached_property
    def flat_ids(self) -> Any:
        """[B * S]."""
        return self._layers.reshape(self.input_ids, (-1,))

    @cached_property
    def flat_positions(self) -> Any:
        """[B * S]."""
        return self._layers.reshape(self.position_ids, (-1,))

    def hidden_states(self, width: int) -> Any:
        """[B, S, width], in the compute type."""
        dtype = self._layers.constants.dtype
        return self.add(HIDDEN_STATES, dtype, (-1, -1, width), lambda b, s: (b, s, width))

    def shape_of_tokens(self, *sizes: int) -> Any:
        """(B, S, *sizes) as a tensor."""
        if sizes not in self._shapes:
            layers = self._layers
            parts = [layers.shape(self.position_ids), layers.constants.int64(*sizes)]
            self._shapes[sizes] = layers.concat(parts, axis=0)
        return self._shapes[sizes]

    def shape_of_rows(self, width: int) -> Any:
        """(B * S, width) as a tensor, always derived from the same one, so that TensorRT need not
        track the number of rows through all earlier layers.
        """
        if width not in self._row_shapes:
            layers = self._layers
            parts = [layers.shape(self.flat_positions), layers.constants.int64(width)]
            self._row_shapes[width] = layers.concat(parts, axis=0)
        return self._row_shapes[width]

    @cached_property
    def visible(self) -> Any:
        """[B, 1, S, max_seq_len], bool: the keys of its slot that a token may attend to."""
        layers, constants = self._layers, self._layers.constants
        end = layers.add(
            layers.unsqueeze(self.position_ids, 1, 3), constants.int32(np.ones((1, 1, 1, 1)))
        )
        columns = np.arange(self._options.max_seq_len).reshape(1, 1, 1, -1)
        return layers.less(constants.int32(columns), end)
