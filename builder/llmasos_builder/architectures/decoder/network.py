"""A decoder as a `Network`: its description, and what compilers ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from llmasos.engine.plan import Precision, Task

from llmasos_builder.architectures.decoder.decoder import define_decoder
from llmasos_builder.architectures.decoder.spec import DecoderSpec
from llmasos_builder.architectures.network import CacheLayout, Load, TensorT, WeightRole, WeightT
from llmasos_builder.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder(DecoderSpec):
    """Implements `Network`."""

    @classmethod
    def of(cls, spec: DecoderSpec) -> Decoder:
        """The network that a description stands for."""
        return cls(**{field.name: getattr(spec, field.name) for field in fields(spec)})

    @property
    def task(self) -> Task:
        return "generate"

    @property
    def cache(self) -> CacheLayout:
        return CacheLayout(
            num_layers=self.num_layers, num_kv_heads=self.num_kv_heads, head_size=self.head_size
        )

    def define(self, graph: Graph[TensorT, WeightT], load: Load, *, precision: Precision) -> None:
        """See Network."""
        define_decoder(self, graph, load, precision=precision)

    def role_of(self, weight: str) -> WeightRole | None:
        """See Network."""
        if weight == f"{self.names.head}.weight":
            return "head"
        return "mlp_output" if weight.endswith(f".{self.names.mlp_output}.weight") else None

    def copies(self) -> Mapping[str, str]:
        """See Network: the head, where it is the embedding."""
        head, embedding = (f"{n}.weight" for n in (self.names.head, self.names.embedding))
        return {head: embedding} if self.tied else {}

    def ignores(self, tensor: str) -> bool:
        """See Network."""
        return self.names.ignored.fullmatch(tensor) is not None
