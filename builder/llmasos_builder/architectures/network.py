"""What a compiler, a plan and a memory plan ask of a network, whatever family it is of.

A family describes its networks as it likes, and implements this protocol once. Compilers call
`define` with a graph of their own and never look at the description, so that an encoder can
stand beside the decoders without a change to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from llmasos.engine.plan import Precision, Task
from typing_extensions import Self

from llmasos_builder.graph import Array, Graph

TensorT = TypeVar("TensorT")
WeightT = TypeVar("WeightT")
Load = Callable[[str, tuple[int, ...]], Array]
"""Gives a tensor by its name; it is told the shape that the tensor must be stored in."""
WeightRole = Literal["head", "mlp_output"]
"""head: the matrix that makes the logits. mlp_output: the last matrix of an MLP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLayout:
    """The keys and values that a network keeps of each token."""

    num_layers: int
    num_kv_heads: int
    head_size: int


class Network(Protocol):
    """A network that can be compiled.

    task: what it does with tokens. cache: what it keeps of a sequence between steps; None if it
    sees each sequence once. max_position_embeddings: tokens of the longest sequence that it was
    trained for; usual_length: the longest that it takes unless more is asked for. num_heads:
    attention heads of a layer. attention_cap: the soft cap of attention scores.
    """

    @property
    def task(self) -> Task: ...
    @property
    def cache(self) -> CacheLayout | None: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def num_heads(self) -> int: ...
    @property
    def attention_cap(self) -> float | None: ...
    @property
    def max_position_embeddings(self) -> int: ...
    @property
    def usual_length(self) -> int: ...

    def for_length(self, max_seq_len: int) -> Self:
        """The network in an engine whose sequences have at most so many tokens."""
        ...

    def define(self, graph: Graph[TensorT, WeightT], load: Load, *, precision: Precision) -> None:
        """Define the whole network on a graph; precision: of matrices, all else is f32."""
        ...

    def role_of(self, weight: str) -> WeightRole | None:
        """What a weight is for, where a memory plan has to know."""
        ...

    def copies(self) -> Mapping[str, str]:
        """Tensors that a checkpoint may hold twice: the copy's name, and that of the original."""
        ...

    def ignores(self, tensor: str) -> bool:
        """Whether checkpoints hold this tensor though no computation needs it."""
        ...
