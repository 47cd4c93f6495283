"""The description of a decoder: names of its parts and what it computes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from llmasos.errors import CheckpointError
from typing_extensions import Self

from llmasos_builder.graph import Activation, AttentionScores

NormKind = Literal["rms", "layer"]
Residual = Literal["norm_first", "norm_last", "parallel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderNames:
    """Names of a decoder's parts in a checkpoint; a part has `.weight`, and `.bias` if any.

    layer: prefix of the names of a layer's parts, with {} for its index.
    attention_inputs: query, key and value, or the one part that holds them in this order.
    heads_interleaved: the one part holds query, key and value group by group of key-value heads.
    head_norms: norms of each query head and of each key head.
    mlp_norm: the same as attention_norm if a parallel layer has one norm for both parts.
    mlp_inputs: gate and up, the one part that holds both, or up alone.
    embedding_norm: norm of embeddings before the first layer.
    embedding_input, embedding_output: projections between embeddings and hidden states, where their
    widths differ.
    attention_output_norm, mlp_output_norm: norms of the outputs of a layer's parts.
    final_norm: None if the layers' output goes into the head unchanged.
    linears_transposed: linear weights are stored [in, out].
    ignored: other tensors in checkpoints that no computation needs.
    """

    embedding: str
    embedding_norm: str | None = None
    embedding_input: str | None = None
    positions: str | None = None
    layer: str
    attention_norm: str
    attention_inputs: tuple[str, ...]
    heads_interleaved: bool = False
    head_norms: tuple[str, str] | None = None
    attention_output: str
    attention_output_norm: str | None = None
    mlp_norm: str
    mlp_inputs: tuple[str, ...]
    mlp_output: str
    mlp_output_norm: str | None = None
    final_norm: str | None
    embedding_output: str | None = None
    head: str
    linears_transposed: bool = False
    ignored: re.Pattern[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LongRotary:
    """Frequencies of an engine whose sequences may have more than `beyond` tokens."""

    beyond: int
    frequencies: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSpec:
    """What a decoder computes.

    embedding_size: width of an embedding; None is the hidden state's.
    embedding_scale: factor of embeddings, but not of the head tied to them.
    max_position_embeddings: the longest sequence that it was trained for.
    position_offset: number of unused rows before the learned positions.
    norm_offset: added to the stored weights of norms.
    norm_affine: norms have weights (and LayerNorm biases); otherwise they only normalize.
    residual: a layer is x + part(norm(x)) for each of its two parts (norm_first),
    norm(x + part(x)) (norm_last), or x + attention(norm(x)) + mlp(norm(x)) (parallel).
    gated: the MLP is output(activation(gate) * up), else output(activation(up)).
    rotary_frequencies: radians per position, one for each pair of a head's elements; fewer rotate
    only the head's first elements. None means learned positions or ALiBi.
    layer_rotary_frequencies: frequencies of each layer, if layers differ.
    rotary_scale: additional factor of the rotated part's scores.
    long_rotary: replaces the frequencies if sequences are long; see `for_length`.
    attention_scales: factor of the scores of each layer.
    attention_cap, logit_cap: soft caps of the scores and of the logits (`Graph.soft_cap`).
    attention_slopes: ALiBi's slope of each head, in place of positions.
    attention_windows: number of tokens that each layer sees, None for all; None if all layers see
    all.
    tied: the output head is the embedding.

    Raises CheckpointError for sizes that do not fit together.
    """

    vocab_size: int
    hidden_size: int
    embedding_size: int | None = None
    embedding_scale: float = 1.0
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    max_position_embeddings: int
    position_offset: int = 0
    norm: NormKind
    norm_eps: float
    norm_offset: float = 0.0
    norm_affine: bool = True
    residual: Residual = "norm_first"
    activation: Activation
    gated: bool
    rotary_frequencies: tuple[float, ...] | None
    layer_rotary_frequencies: tuple[tuple[float, ...], ...] | None = None
    rotary_scale: float = 1.0
    long_rotary: LongRotary | None = None
    attention_scales: tuple[float, ...]
    attention_cap: float | None = None
    attention_slopes: tuple[float, ...] | None = None
    attention_windows: tuple[int | None, ...] | None = None
    logit_cap: float | None = None
    attention_input_bias: bool
    attention_output_bias: bool
    mlp_bias: bool
    tied: bool
    names: DecoderNames

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads:
            raise CheckpointError(
                f"{self.num_heads} attention heads cannot share {self.num_kv_heads} key and "
                "value heads equally"
            )
        frequencies = self.rotary_frequencies
        if frequencies is not None and (
            self.head_size % 2 or self.head_size < 2 * len(frequencies)
        ):
            raise CheckpointError(
                f"heads of {self.head_size} elements cannot be rotated in {len(frequencies)} pairs"
            )
        assert not self.names.heads_interleaved or len(self.names.attention_inputs) == 1
        assert self.embedding_scale == 1 or (self.norm == "rms" and self.names.final_norm)
        layers = self.layer_rotary_frequencies
        assert layers is None or len(layers) == self.num_layers
        assert all(len(layer) == len(frequencies or ()) for layer in layers or ())
        long = self.long_rotary
        assert long is None or len(long.frequencies) == len(frequencies or ())
        shared_norm = self.names.mlp_norm == self.names.attention_norm
        assert not shared_norm or self.residual == "parallel"
        assert self.names.head_norms is None or self.head_size == 2 * len(frequencies or ())
        assert len(self.attention_scales) == self.num_layers
        assert self.attention_windows is None or len(self.attention_windows) == self.num_layers
        assert self.attention_slopes is None or len(self.attention_slopes) == self.num_heads
        positions = (frequencies, self.names.positions, self.attention_slopes)
        assert sum(kind is not None for kind in positions) == 1

    @property
    def rotates_whole_heads(self) -> bool:
        """True if every element of a head is rotated, or none is."""
        frequencies = self.rotary_frequencies
        return frequencies is None or 2 * len(frequencies) == self.head_size

    @property
    def usual_length(self) -> int:
        """Tokens of a sequence for which the frequencies stay unchanged."""
        long = self.long_rotary
        return self.max_position_embeddings if long is None else long.beyond

    def for_length(self, max_seq_len: int) -> Self:
        """Returns the decoder for an engine whose sequences have at most max_seq_len tokens."""
        long = self.long_rotary
        if long is None or max_seq_len <= long.beyond:
            return replace(self, long_rotary=None)
        return replace(self, rotary_frequencies=long.frequencies, long_rotary=None)

    def scores(self, layer: int) -> AttentionScores:
        """Returns how a layer scores keys. `qkv_layout` scales heads that are rotated in part."""
        windows = self.attention_windows
        scale = self.rotary_scale if self.rotates_whole_heads else 1.0
        return AttentionScores(
            scale=self.attention_scales[layer] * scale,
            cap=self.attention_cap,
            slopes=self.attention_slopes,
            window=None if windows is None else windows[layer],
        )
