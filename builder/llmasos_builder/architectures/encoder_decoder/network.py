"""An encoder-decoder as a `Network`: its description, and what compilers ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from llmasos.engine.plan import Precision, Task

from llmasos_builder.architectures.encoder_decoder.encoder_decoder import EncoderDecoderDefinition
from llmasos_builder.architectures.encoder_decoder.spec import EncoderDecoderSpec
from llmasos_builder.architectures.network import CacheLayout, Load, TensorT, WeightRole, WeightT
from llmasos_builder.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderDecoder(EncoderDecoderSpec):
    """Implements `Network`. The cache holds the decoder's tokens, and the encoder's as well: a
    layer has one form of keys and values for both.
    """

    @classmethod
    def of(cls, spec: EncoderDecoderSpec) -> EncoderDecoder:
        """The network that a description stands for."""
        return cls(**{field.name: getattr(spec, field.name) for field in fields(spec)})

    @property
    def task(self) -> Task:
        return "generate"

    @property
    def cache(self) -> CacheLayout:
        return CacheLayout(
            num_layers=self.decoder.num_layers,
            num_kv_heads=self.decoder.num_heads,
            head_size=self.head_size,
        )

    @property
    def num_heads(self) -> int:
        return self.decoder.num_heads

    @property
    def attention_cap(self) -> float | None:
        return None

    @property
    def usual_length(self) -> int:
        return self.max_position_embeddings

    def for_length(self, max_seq_len: int) -> EncoderDecoder:
        """See Network: the same for every length up to max_position_embeddings."""
        assert max_seq_len <= self.max_position_embeddings
        return self

    def define(self, graph: Graph[TensorT, WeightT], load: Load, *, precision: Precision) -> None:
        """See Network: both parts on one graph."""
        definition = EncoderDecoderDefinition(self, graph, load, precision)
        definition.encoder()
        graph.end_encoder()
        definition.decoder()

    def define_encoder(
        self, graph: Graph[TensorT, WeightT], load: Load, *, precision: Precision
    ) -> None:
        """Defines the encoder alone."""
        EncoderDecoderDefinition(self, graph, load, precision).encoder()

    def define_decoder(
        self, graph: Graph[TensorT, WeightT], load: Load, *, precision: Precision
    ) -> None:
        """Defines the decoder alone."""
        EncoderDecoderDefinition(self, graph, load, precision).decoder()

    def role_of(self, weight: str) -> WeightRole | None:
        """See Network."""
        if weight == f"{self.names.head}.weight":
            return "head"
        outputs = (self.names.encoder.mlp_output, self.names.decoder.mlp_output)
        is_output = any(weight.endswith(f".{name}.weight") for name in outputs)
        return "mlp_output" if is_output else None

    def copies(self) -> Mapping[str, str]:
        """See Network."""
        names = self.names
        copied = (*names.copies, *((names.head,) if self.tied else ()))
        return {f"{name}.weight": f"{names.embedding}.weight" for name in copied}

    def ignores(self, tensor: str) -> bool:
        """See Network."""
        return self.names.ignored.fullmatch(tensor) is not None
