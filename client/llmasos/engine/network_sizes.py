"""How large a network's parts are, as far as its memory goes: what the houses tell each other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSizes:
    """A decoder's sizes; bytes are those of its weights as an engine stores them.

    embedding_bytes: with learned positions. head_bytes: 0 where the embedding is the head too,
    which is counted once. matrix_bytes: of all that is multiplied with, such a head included.
    mlp_output_bytes: of these, the last of each MLP. widest: the most numbers of one token
    that a layer makes at once. num_soft_capped_heads: of query, if their scores have a soft cap.
    """

    num_parameters: int
    embedding_bytes: int
    layer_bytes: int
    head_bytes: int
    matrix_bytes: int
    mlp_output_bytes: int
    num_layers: int
    num_kv_heads: int
    head_size: int
    hidden_size: int
    widest: int
    vocab_size: int
    num_soft_capped_heads: int = 0

    @property
    def weight_bytes(self) -> int:
        return self.embedding_bytes + self.layer_bytes + self.head_bytes
