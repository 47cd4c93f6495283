"""What makes one decoder different from another."""

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
    """How a checkpoint calls a decoder's parts; a part has `.weight`, and `.bias` if any.

    layer: what stands before the names of a layer's parts, with {} for its index.
    attention_inputs: query, key and value, or the one part that holds them in this order.
    heads_interleaved: that one part holds them so for each head of key and value by itself.
    head_norms: what normalizes each head of query and each of key.
    mlp_norm: the same as attention_norm where a parallel layer has one for both parts.
    mlp_inputs: gate and up, the one that holds both, or up alone.
    embedding_norm: what normalizes embeddings before the first layer.
    embedding_input, embedding_output: what turns embeddings into hidden states and back,
        where their widths differ.
    attention_output_norm, mlp_output_norm: what normalizes what each part of a layer gives.
    final_norm: None where the layers' output goes into the head as it is.
    linears_transposed: linear weights are stored [in, out].
    ignored: other tensors that checkpoints hold and no computation needs.
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
    """Frequencies of an engine in which a sequence may have more than `beyond` tokens."""

    beyond: int
    frequencies: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSpec:
    """A decoder, as far as its computation goes.

    embedding_size: the width of an embedding; None is the hidden state's.
    embedding_scale: by what embeddings are multiplied, though not those of the head.
    max_position_embeddings: the longest sequence it was trained for.
    position_offset: learned positions are stored after so many rows that none uses.
    norm_offset: what is added to the stored weights of norms.
    norm_affine: norms have weights (and LayerNorm biases); else they only normalize.
    residual: a layer is x + part(norm(x)) for each of its two parts (norm_first),
        norm(x + part(x)) (norm_last), or x + attention(norm(x)) + mlp(norm(x)) (parallel).
    gated: the MLP is output(activation(gate) * up), else output(activation(up)).
    rotary_frequencies: radians per position, one for each two elements of a head; fewer
        rotate the head's first elements alone. None means that positions are learned and
        embedded, or slopes.
    layer_rotary_frequencies: those of each layer, where layers differ.
    rotary_scale: by which the scores of what is rotated are multiplied besides.
    long_rotary: what takes their place where sequences are long; `for_length` decides.
    attention_scales: by which the scores of each layer are multiplied.
    attention_cap, logit_cap: what bounds the scores, and the logits (`Graph.soft_cap`).
    attention_slopes: ALiBi's, one for each head, which stand for positions.
    attention_windows: how many tokens each layer sees, None for all; None where all layers
        see all.
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
        """Whether no element of a head is left as it is; so, too, where nothing is rotated."""
        frequencies = self.rotary_frequencies
        return frequencies is None or 2 * len(frequencies) == self.head_size

    @property
    def usual_length(self) -> int:
        """Tokens of a sequence for which no frequencies are changed."""
        long = self.long_rotary
        return self.max_position_embeddings if long is None else long.beyond

    def for_length(self, max_seq_len: int) -> Self:
        """The decoder in an engine whose sequences have at most so many tokens."""
        long = self.long_rotary
        if long is None or max_seq_len <= long.beyond:
            return replace(self, long_rotary=None)
        return replace(self, rotary_frequencies=long.frequencies, long_rotary=None)

    def scores(self, layer: int) -> AttentionScores:
        """How a layer attends. Where heads are rotated in part, `head_rows` scales that part."""
        windows = self.attention_windows
        scale = self.rotary_scale if self.rotates_whole_heads else 1.0
        return AttentionScores(
            scale=self.attention_scales[layer] * scale,
            cap=self.attention_cap,
            slopes=self.attention_slopes,
            window=None if windows is None else windows[layer],
        )
