"""What the native step computes, as values: a network whose operations have become its parts."""

from __future__ import annotations

from dataclasses import dataclass

from llmasos_builder.graph import Activation, AttentionScores
from llmasos_builder.graph.records import RecordedWeight
from llmasos_builder.native.shape import LayerKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A matrix that the step multiplies with, of one or more stored ones, by their names.

    biases: as many, or none. is_gated: it is a gate and up.
    """

    weights: tuple[RecordedWeight, ...]
    biases: tuple[RecordedWeight, ...] = ()
    is_gated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """An RMSNorm, or a LayerNorm, which may have a bias."""

    weight: RecordedWeight
    bias: RecordedWeight | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoweredLayer:
    """One layer.

    frequencies: of rotation, one for each pair of a head's elements; zeros where nothing rotates.
    output_norm, down_norm: of what attention and the MLP add; both, or none.
    parallel: both parts read the layer's input.
    """

    attention_norm: Norm
    qkv: Product
    query_norm: Norm | None
    key_norm: Norm | None
    frequencies: tuple[float, ...]
    scores: AttentionScores
    output: Product
    output_norm: Norm | None
    mlp_norm: Norm
    gate_up: Product
    activation: Activation
    down: Product
    down_norm: Norm | None
    parallel: bool

    @property
    def kind(self) -> LayerKind:
        return LayerKind(
            activation=self.activation,
            gated=self.gate_up.is_gated,
            parallel=self.parallel,
            part_norms=self.output_norm is not None,
            score_cap=self.scores.cap,
            slopes=self.scores.slopes is not None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoweredNetwork:
    """What the step computes (`step` draws it).

    embedding_norm: of the embeddings, before positions. positions: learned ones, if there are any.
    norm_eps: of every norm. layer_norm: norms are LayerNorm, else RMSNorm. logit_cap: the soft cap
    of logits, if there is one.
    """

    embedding: RecordedWeight
    embedding_norm: Norm | None
    positions: RecordedWeight | None
    layers: tuple[LoweredLayer, ...]
    final_norm: Norm
    head: RecordedWeight
    logit_cap: float | None
    norm_eps: float
    layer_norm: bool
    num_heads: int
    num_kv_heads: int
    head_size: int

    @property
    def hidden_size(self) -> int:
        return self.embedding.shape[1]

    @property
    def vocab_size(self) -> int:
        return self.head.shape[0]

    @property
    def intermediate_size(self) -> int:
        return self.layers[0].down.weights[0].shape[1]

    @property
    def kind(self) -> LayerKind:
        """The same in all layers."""
        return self.layers[0].kind
