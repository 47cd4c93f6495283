"""A decoder that makes one vector of each text, such as Qwen3-Embedding: a `Network` without a
cache, whose attention is causal within one step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from llmasos.engine.plan import Precision, Task

from llmasos_builder.architectures.decoder.decoder import define_body
from llmasos_builder.architectures.decoder.network import Decoder
from llmasos_builder.architectures.decoder.spec import DecoderSpec
from llmasos_builder.architectures.encoder.encoder import HeadDefinition
from llmasos_builder.architectures.encoder.head import Head, HeadLinear
from llmasos_builder.architectures.network import CacheLayout, Load, TensorT, WeightRole, WeightT
from llmasos_builder.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderEmbedder:
    """Implements `Network`. decoder: its layers. head: what makes vectors of them."""

    decoder: Decoder
    head: Head

    @classmethod
    def of(cls, spec: DecoderSpec, head: Head) -> DecoderEmbedder:
        """The embedder that a decoder's description stands for."""
        return cls(decoder=Decoder.of(spec), head=head)

    @property
    def task(self) -> Task:
        return self.head.task

    @property
    def cache(self) -> CacheLayout | None:
        return None

    @property
    def vocab_size(self) -> int:
        return self.decoder.vocab_size

    @property
    def hidden_size(self) -> int:
        return self.decoder.hidden_size

    @property
    def num_heads(self) -> int:
        return self.decoder.num_heads

    @property
    def attention_cap(self) -> float | None:
        return self.decoder.attention_cap

    @property
    def max_position_embeddings(self) -> int:
        return self.decoder.max_position_embeddings

    @property
    def usual_length(self) -> int:
        return self.decoder.usual_length

    def for_length(self, max_seq_len: int) -> DecoderEmbedder:
        """See Network."""
        return replace(self, decoder=self.decoder.for_length(max_seq_len))

    def define(self, graph: Graph[TensorT, WeightT], load: Load, *, precision: Precision) -> None:
        """See Network."""
        hidden = define_body(self.decoder, graph, load, precision=precision)
        head: HeadDefinition[Any, Any] = HeadDefinition(graph, load, precision, tokens=None)
        head.define(hidden, self.head, width=self.hidden_size)

    def role_of(self, weight: str) -> WeightRole | None:
        """See Network."""
        heads = [one.name for one in self.head.layers if isinstance(one, HeadLinear)]
        return "head" if weight.removesuffix(".weight") in heads else self.decoder.role_of(weight)

    def copies(self) -> Mapping[str, str]:
        """See Network."""
        return {}

    def ignores(self, tensor: str) -> bool:
        """See Network. The head that continues texts is not needed."""
        return tensor == f"{self.decoder.names.head}.weight" or self.decoder.ignores(tensor)
