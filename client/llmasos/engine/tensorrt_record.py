"""The part of a plan that only engines for NVIDIA GPUs have."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TensorRTRecord(BaseModel):
    """Fields of an engine for NVIDIA GPUs.

    library, version: the TensorRT that compiled the engine, which must also load it.
    gpus: the GPUs that it runs on (`sm89`), or `current` for that of the machine that built it.
    prefill_length: the most tokens of one sequence in one step.
    num_candidates: the likeliest tokens that a step returns for each sequence.
    full_logits: True if a step also returns the logits of all tokens.
    tensor_parallel_size: number of ranks that share each matrix. pipeline_parallel_size: number
    of stages that share the layers. Each of the num_ranks engines needs a GPU; rank r is part
    r % tensor_parallel_size of stage r // tensor_parallel_size.
    scratch_bytes: GPU memory for activations, of the rank that needs most, as the compiler
    reported it; None if it did not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    library: Literal["tensorrt_rtx", "tensorrt"]
    version: str
    gpus: tuple[str, ...] = Field(min_length=1)
    prefill_length: int = Field(ge=1)
    num_candidates: int = Field(ge=1)
    full_logits: bool
    tensor_parallel_size: int = Field(default=1, ge=1)
    pipeline_parallel_size: int = Field(default=1, ge=1)
    scratch_bytes: int | None = Field(default=None, ge=0)

    @property
    def num_ranks(self) -> int:
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def engine_files(self) -> tuple[str, ...]:
        """File names of the engines in the plan's directory, by rank."""
        if self.num_ranks == 1:
            return ("engine.trt",)
        return tuple(f"engine.rank{rank}.trt" for rank in range(self.num_ranks))
