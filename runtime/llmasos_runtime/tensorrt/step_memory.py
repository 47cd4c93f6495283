"""The memory of a running engine, and the part of it that each launch gets."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from llmasos.engine.engine_io import (
    CANDIDATE_IDS,
    CANDIDATE_LOGITS,
    LOG_SUM_EXP,
    LOGITS,
    STEP_INPUTS,
)
from llmasos.engine.plan import EnginePlan

from llmasos_runtime.sequences.step import SlotCopy
from llmasos_runtime.tensorrt.candidate_scores import Candidates
from llmasos_runtime.tensorrt.cuda import Cuda, Stream
from llmasos_runtime.tensorrt.full_logits import FullLogits
from llmasos_runtime.tensorrt.kv_slots import KVSlots, SlotCacheTensor
from llmasos_runtime.tensorrt.launch import Launch
from llmasos_runtime.tensorrt.packing import PADDED_TO
from llmasos_runtime.tensorrt.staging import ALIGNMENT, StagedInputs, StagedOutputs, aligned

_ITEM = 4  # bytes of every input and output


@dataclass(frozen=True, slots=True)
class Prepared:
    """A launch, the addresses of its tensors, and its results once they were fetched."""

    launch: Launch
    shapes: Mapping[str, tuple[int, ...]]
    addresses: Mapping[str, int]
    candidates: Candidates


class StepMemory:
    """Inputs, outputs, KV slots and full logits, sized for the largest step of a plan.

    The addresses of a step's first launch depend only on its number of rows and its first slot.
    resources: closes what is made here. Raises CudaError.
    """

    def __init__(
        self,
        plan: EnginePlan,
        cuda: Cuda,
        caches: tuple[SlotCacheTensor, ...],
        *,
        num_slots: int,
        stream: Stream,
        resources: ExitStack,
    ) -> None:
        assert plan.tensorrt is not None
        self._stream = stream
        self._num_candidates = min(plan.tensorrt.num_candidates, plan.vocab_size)
        max_num_tokens = plan.limits.max_num_tokens
        num_prefills = num_slots + max_num_tokens // plan.tensorrt.prefill_length
        # Two arrays of tokens and two of rows for each launch, each rounded up.
        padding = num_prefills * (2 * PADDED_TO * _ITEM + 4 * ALIGNMENT)
        num_bytes = 2 * max_num_tokens * _ITEM + padding + 4 * aligned(num_slots * _ITEM)
        self._inputs = StagedInputs(cuda, num_bytes)
        resources.callback(self._inputs.close)
        row_bytes = 2 * aligned(self._num_candidates * _ITEM) + ALIGNMENT
        self._outputs = StagedOutputs(cuda, (num_slots + num_prefills) * row_bytes)
        resources.callback(self._outputs.close)
        self._slots = KVSlots(cuda, caches, num_slots=num_slots, stream=stream)
        resources.callback(self._slots.close)
        self.full: FullLogits | None = None
        if plan.tensorrt.full_logits:
            self.full = FullLogits(
                cuda,
                stream,
                num_rows=num_slots + num_prefills,
                num_fetched=num_slots,
                vocab_size=plan.vocab_size,
            )
            resources.callback(self.full.close)

    def copy(self, copies: tuple[SlotCopy, ...]) -> None:
        """Copies slots before a step, one after the other. Raises SlotError."""
        for copy in copies:
            self._slots.copy(copy.source, copy.target, copy.num_tokens, self._stream)

    def prepare(self, launches: list[Launch]) -> list[Prepared]:
        """Stages the inputs of a step, whose launches run in this order, and reserves its
        outputs.
        """
        self._inputs.clear()
        self._outputs.clear()
        if self.full is not None:
            self.full.clear()
        prepared = [self._prepare(launch) for launch in launches]
        self._inputs.send(self._stream)
        return prepared

    def fetch(self) -> None:
        """Fetches the results of the launches, once they are done."""
        self._outputs.fetch(self._stream)

    def _prepare(self, launch: Launch) -> Prepared:
        rows, count = launch.num_rows, self._num_candidates
        inputs = {name: getattr(launch, name) for name in STEP_INPUTS}
        shapes = {name: array.shape for name, array in inputs.items()}
        shapes |= {cache.input: (rows, *cache.slot_shape) for cache in self._slots.caches}
        addresses = {name: self._inputs.put(array) for name, array in inputs.items()}
        addresses |= self._slots.addresses(launch.first_slot)
        addresses[CANDIDATE_LOGITS], logits = self._outputs.floats((rows, count))
        addresses[CANDIDATE_IDS], ids = self._outputs.ints((rows, count))
        addresses[LOG_SUM_EXP], total = self._outputs.floats((rows, 1))
        if self.full is not None:
            addresses[LOGITS] = self.full.room(rows)
        return Prepared(launch, shapes, addresses, Candidates(logits, ids, total))
