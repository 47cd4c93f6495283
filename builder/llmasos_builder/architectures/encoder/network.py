"""An encoder as a `Network`: its description, and what compilers ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from llmasos.engine.plan import Precision, Task
from llmasos.errors import InvalidRequestError

from llmasos_builder.architectures.encoder.encoder import define_encoder
from llmasos_builder.architectures.encoder.head import HeadLinear
from llmasos_builder.architectures.encoder.spec import EncoderSpec
from llmasos_builder.architectures.network import CacheLayout, Load, TensorT, WeightRole, WeightT
from llmasos_builder.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder(EncoderSpec):
    """Implements `Network`."""

    @classmethod
    def of(cls, spec: EncoderSpec) -> Encoder:
        """The network that a description stands for."""
        return cls(**{field.name: getattr(spec, field.name) for field in fields(spec)})

    @property
    def task(self) -> Task:
        return self.head.task

    @property
    def cache(self) -> CacheLayout | None:
        return None

    @property
    def attention_cap(self) -> float | None:
        return None

    def for_length(self, max_seq_len: int) -> Encoder:
        """See Network. Raises InvalidRequestError for more tokens than there are positions."""
        if max_seq_len > self.max_position_embeddings:
            raise InvalidRequestError(
                f"max_seq_len must be at most {self.max_position_embeddings}, got {max_seq_len}"
            )
        return self

    def define(self, graph: Graph[TensorT, WeightT], load: Load, *, precision: Precision) -> None:
        """See Network."""
        define_encoder(self, graph, load, precision=precision)

    def role_of(self, weight: str) -> WeightRole | None:
        """See Network."""
        heads = [one.name for one in self.head.layers if isinstance(one, HeadLinear) and one.name]
        if weight.removesuffix(".weight") in heads:
            return "head"
        return "mlp_output" if weight.endswith(f".{self.names.mlp_output}.weight") else None

    def copies(self) -> Mapping[str, str]:
        """See Network."""
        return dict(self.head.copies)

    def ignores(self, tensor: str) -> bool:
        """See Network."""
        return self.names.ignored.fullmatch(tensor) is not None
