"""The description of an encoder: names of its parts and what it computes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from llmasos.errors import CheckpointError

from llmasos_builder.architectures.encoder.head import Head
from llmasos_builder.graph import Activation, Array


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderNames:
    """Names of an encoder's parts in a checkpoint; a part has `.weight`, and `.bias` if any.

    embeddings: of tokens, positions and token types, None where there are none.
    layer: prefix of the names of a layer's parts, with {} for its index.
    attention_inputs: query, key and value, or the one part that holds them in this order.
    attention_norm, mlp_norm: before the part, or after it and the residual.
    mlp_inputs: the one part that holds activated and gate, or the activated part alone.
    distances: the table of relative positions, one for all layers.
    ignored: other tensors in checkpoints that no computation needs.
    """

    tokens: str
    positions: str | None = None
    token_types: str | None = None
    embedding_norm: str
    layer: str
    attention_inputs: tuple[str, ...]
    attention_output: str
    attention_norm: str
    mlp_inputs: str
    mlp_output: str
    mlp_norm: str
    final_norm: str | None = None
    distances: str | None = None
    ignored: re.Pattern[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances:
    """Relative positions in buckets (T5, Raffel et al., arXiv:1910.10683).

    reach: the smallest distance from which all share one bucket. bucket: that of a distance of a
    key behind its query.
    """

    num_buckets: int
    reach: int
    bucket: Callable[[int], int]

    def rows(self, table: Array) -> Array:
        """The row [heads] of each distance from -reach to reach, of a table [buckets, heads]."""
        reach = range(-self.reach, self.reach + 1)
        rows: Array = table[np.array([self.bucket(distance) for distance in reach])]
        return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """What an encoder computes.

    max_position_embeddings: tokens of the longest sequence that it was trained for. usual_length:
    the longest that it takes unless more is asked for. position_offset: number of unused rows
    before the learned positions. num_token_types: 0 if there are none; otherwise type 0 is added
    where the tokenizer has no types.
    norm_first: a layer is x + part(norm(x)) for each of its two parts; else norm(x + part(x)).
    first_norm: False if the first layer's attention has no norm before it.
    gated: the MLP is output(activation(a) * b), with a and b side by side.
    layer_frequencies: rotary frequencies of each layer; None means learned or relative positions.
    layer_windows: the largest distance that each layer sees; None sees all.
    linear_bias, mlp_bias: in attention, and in the MLP. norm_bias: in all norms.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    max_position_embeddings: int
    usual_length: int
    position_offset: int = 0
    num_token_types: int = 0
    norm_eps: float
    norm_first: bool = False
    first_norm: bool = True
    norm_bias: bool = True
    activation: Activation
    gated: bool = False
    linear_bias: bool = True
    mlp_bias: bool = True
    layer_frequencies: tuple[tuple[float, ...], ...] | None = None
    layer_windows: tuple[int | None, ...] | None = None
    distances: Distances | None = None
    names: EncoderNames
    head: Head

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads:
            raise CheckpointError(
                f"config.json: {self.num_heads} attention heads cannot share a hidden size of "
                f"{self.hidden_size} equally"
            )
        for layers in (self.layer_frequencies, self.layer_windows):
            assert layers is None or len(layers) == self.num_layers
        assert (self.names.distances is None) == (self.distances is None)
        assert (self.names.token_types is None) == (self.num_token_types == 0)

    @property
    def head_size(self) -> int:
        """Elements of an attention head."""
        return self.hidden_size // self.num_heads
