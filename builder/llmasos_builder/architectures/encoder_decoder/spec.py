"""The description of an encoder-decoder: names of its parts and what it computes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from llmasos.errors import CheckpointError

from llmasos_builder.architectures.encoder.spec import Distances
from llmasos_builder.graph import Activation, Array

NormKind = Literal["rms", "layer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionNames:
    """Names of an attention's parts; norm: before it, or after it and the residual."""

    query: str
    key: str
    value: str
    output: str
    norm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StackNames:
    """Names of the encoder's or the decoder's parts; a part has `.weight`, and `.bias` if any.

    positions: the table of learned positions. embedding_norm: behind the embedding. layer: prefix
    of the names of a layer's parts, with {} for its index. cross: attention to the encoder; None in
    the encoder itself. mlp_inputs: gate and up, or up alone. final_norm: behind the last layer.
    distances: the table of relative positions, one for all layers.
    """

    positions: str | None = None
    embedding_norm: str | None = None
    layer: str
    attention: AttentionNames
    cross: AttentionNames | None = None
    mlp_inputs: tuple[str, ...]
    mlp_output: str
    mlp_norm: str
    final_norm: str | None = None
    distances: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderDecoderNames:
    """embedding: of the tokens of both parts. head: the output head. head_bias: added to the
    logits, [1, vocabulary]; None if there is none. copies: names under which checkpoints may hold
    the embedding again. ignored: other tensors in checkpoints that no computation needs.
    """

    embedding: str
    encoder: StackNames
    decoder: StackNames
    head: str
    head_bias: str | None = None
    copies: tuple[str, ...]
    ignored: re.Pattern[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSizes:
    """Sizes of the encoder or the decoder."""

    num_layers: int
    num_heads: int
    intermediate_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderDecoderSpec:
    """What an encoder-decoder computes.

    max_position_embeddings: tokens of the longest text, of either part, that it was trained for.
    embedding_scale: factor of embeddings, but not of the head tied to them. position_offset: number
    of unused rows before the learned positions. sinusoids: the computed positions
    [max_position_embeddings, hidden_size], if they are neither learned nor relative.
    norm_first: a layer is x + part(norm(x)) for each of its parts; else norm(x + part(x)).
    has_bias: linears and norms have biases. gated: the MLP is output(activation(gate) * up), else
    output(activation(up)).
    attention_scale: factor of the scores. encoder_distances, decoder_distances: buckets of relative
    positions. head_scale: factor of what goes into the head. tied: the head is the embedding.

    Raises CheckpointError for sizes that do not fit together.
    """

    vocab_size: int
    hidden_size: int
    head_size: int
    encoder: StackSizes
    decoder: StackSizes
    max_position_embeddings: int
    embedding_scale: float = 1.0
    position_offset: int = 0
    sinusoids: Array | None = None
    norm: NormKind
    norm_eps: float
    norm_first: bool
    has_bias: bool
    activation: Activation
    gated: bool = False
    attention_scale: float
    encoder_distances: Distances | None = None
    decoder_distances: Distances | None = None
    head_scale: float = 1.0
    tied: bool
    names: EncoderDecoderNames

    def __post_init__(self) -> None:
        if self.head_size < 1:
            raise CheckpointError(
                f"config.json: {self.decoder.num_heads} attention heads cannot share a hidden size "
                f"of {self.hidden_size}"
            )
        assert (self.names.encoder.distances is None) == (self.encoder_distances is None)
        assert (self.names.decoder.distances is None) == (self.decoder_distances is None)
        assert self.names.decoder.cross is not None and self.names.encoder.cross is None
