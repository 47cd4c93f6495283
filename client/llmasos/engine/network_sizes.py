"""Sizes of a network from which its memory is computed, shared by builder and runtime."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSizes:
    """The sizes of a decoder; bytes are those of its weights as an engine stores them.

    embedding_bytes: token embedding and learned positions. head_bytes: the output head; 0 if it is
    tied to the embedding, which is counted once. matrix_bytes: all matrices of linear layers, a
    tied head included. mlp_output_bytes: the last matrix of each MLP, part of matrix_bytes.
    widest: the most numbers of one token that a linear layer outputs.
    num_soft_capped_heads: query heads whose scores have a soft cap. has_encoder: a sequence keeps
    the tokens of an encoder's text beside its own, and the embedding is stored for each part.
    """

    num_parameters: int
    embedding_bytes: int
    layer_bytes: int
    head_bytes: int
    matrix_bytes: int
    mlp_output_bytes: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    hidden_size: int
    widest: int
    vocab_size: int
    num_soft_capped_heads: int = 0
    has_encoder: bool = False

    @property
    def weight_bytes(self) -> int:
        embeddings = self.embedding_bytes * (2 if self.has_encoder else 1)
        return embeddings + self.layer_bytes + self.head_bytes
