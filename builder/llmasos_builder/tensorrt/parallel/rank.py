"""A rank: the part of a network that one of several engines computes."""

from __future__ import annotations

from dataclasses import dataclass

from llmasos.errors import InvalidRequestError

from llmasos_builder.architectures.decoder.spec import DecoderSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """One engine of parts * stages.

    parts: tensor-parallel size; part: index of this engine's slice of each matrix.
    stages: pipeline-parallel size; stage: index of this engine's layers.
    """

    parts: int = 1
    part: int = 0
    stages: int = 1
    stage: int = 0

    def __post_init__(self) -> None:
        assert 0 <= self.part < self.parts and 0 <= self.stage < self.stages

    def layers(self, num_layers: int) -> range:
        """The layers of this stage; a later stage may have one more than an earlier one."""
        first, end = (num_layers * stage // self.stages for stage in (self.stage, self.stage + 1))
        return range(first, end)

    def share(self, size: int) -> range:
        """This part's equal share of `size` neighbours."""
        assert size % self.parts == 0
        each = size // self.parts
        return range(each * self.part, each * (self.part + 1))

    def heads(self, num_heads: int) -> range:
        """The heads this rank owns. With more ranks than heads, adjacent ranks share one."""
        if num_heads % self.parts == 0:
            return self.share(num_heads)
        assert self.parts % num_heads == 0
        head = self.part * num_heads // self.parts
        return range(head, head + 1)


WHOLE = Rank()
MIN_HEADS = 4
"""The fewest heads of an engine: TensorRT-RTX 1.7 has no fused attention for fewer on any GPU."""


def all_ranks(tensor_parallel_size: int, pipeline_parallel_size: int) -> list[Rank]:
    """Returns all ranks, stage after stage, as an engine plan numbers them."""
    return [
        Rank(parts=tensor_parallel_size, part=part, stages=pipeline_parallel_size, stage=stage)
        for stage in range(pipeline_parallel_size)
        for part in range(tensor_parallel_size)
    ]


def check_divides(
    spec: DecoderSpec, *, tensor_parallel_size: int, pipeline_parallel_size: int
) -> None:
    """Raises InvalidRequestError for a network that these sizes do not divide."""
    if pipeline_parallel_size > spec.num_layers:
        raise InvalidRequestError(
            f"pipeline_parallel_size must be at most {spec.num_layers}, the network's layers, "
            f"got {pipeline_parallel_size}"
        )
    parts, kv_heads = tensor_parallel_size, spec.num_kv_heads
    sizes = {"attention heads": spec.num_heads, "inner width of an MLP": spec.intermediate_size}
    for what, size in sizes.items():
        if size % parts:
            raise InvalidRequestError(
                f"tensor_parallel_size must divide {size}, the network's {what}, got {parts}"
            )
    if kv_heads % parts and parts % kv_heads:
        raise InvalidRequestError(
            f"tensor_parallel_size must divide {kv_heads}, the network's key and value heads, "
            f"or be a multiple of it, got {parts}"
        )


def check_fused(spec: DecoderSpec, *, tensor_parallel_size: int) -> None:
    """Raises InvalidRequestError if a rank has too few heads for TensorRT's fused attention."""
    heads = spec.num_heads // tensor_parallel_size
    if tensor_parallel_size > 1 and spec.attention_cap is None and heads < MIN_HEADS:
        raise InvalidRequestError(
            f"tensor_parallel_size {tensor_parallel_size} leaves {heads} of {spec.num_heads} "
            f"attention heads to each GPU, and TensorRT needs at least {MIN_HEADS}",
            hint="choose a smaller one, or pipeline_parallel_size",
        )
