"""Runs steps on an NVIDIA GPU with TensorRT. What has run on one: see docs/gpu.md."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import numpy as np
from llmasos.engine.engine_io import DECODE_PROFILE, PREFILL_PROFILE
from llmasos.engine.plan import EnginePlan
from llmasos.forked import OwnProcess
from numpy.typing import NDArray

from llmasos_runtime.capabilities import Capabilities
from llmasos_runtime.sequences.step import Step
from llmasos_runtime.tensorrt.candidate_scores import Candidates, CandidateScores
from llmasos_runtime.tensorrt.cuda import Cuda, Event, Stream
from llmasos_runtime.tensorrt.decode_graphs import DecodeGraphs
from llmasos_runtime.tensorrt.execution import Context, TensorRTEngine
from llmasos_runtime.tensorrt.packing import PADDED_TO, Packer
from llmasos_runtime.tensorrt.step_memory import Prepared, StepMemory


class TensorRTRunner:
    """Runs steps of one engine over one KV cache, whose blocks are slots as long as max_seq_len.

    A step is a copy for each sequence with a known prefix, a copy of all inputs to the GPU, the
    launches, a copy of all candidates back, and an event to wait for.

    num_slots: at most the plan's max_batch_size. resources: closed after the runner's own. Raises
    CudaError if the GPU's memory does not suffice.
    """

    def __init__(
        self,
        plan: EnginePlan,
        engine: TensorRTEngine,
        cuda: Cuda,
        *,
        num_slots: int,
        resources: ExitStack,
    ) -> None:
        assert plan.tensorrt is not None
        self._freed = weakref.finalize(self, _close_here, OwnProcess("this engine"), resources)
        self._freed.atexit = False  # the engine's thread may still run then
        self._plan, self._num_slots = plan, num_slots
        self._num_candidates = plan.tensorrt.num_candidates
        self._stream = stream = Stream(cuda)
        resources.callback(stream.close)
        self._memory = StepMemory(
            plan, cuda, engine.caches(), num_slots=num_slots, stream=stream, resources=resources
        )
        self._done = Event(cuda)
        resources.callback(self._done.close)
        self._prefill = engine.context(PREFILL_PROFILE, stream)
        resources.callback(self._prefill.close)
        self._decode = DecodeGraphs(stream, partial(engine.context, DECODE_PROFILE, stream))
        resources.callback(self._decode.close)
        resources.callback(stream.synchronize)
        self._packer = Packer(
            num_slots=num_slots,
            max_seq_len=plan.limits.max_seq_len,
            prefill_length=plan.tensorrt.prefill_length,
        )
        self._prepared: list[Prepared] = []
        self._rows: list[int] = []

    @property
    def capabilities(self) -> Capabilities:
        """See ModelRunner. A copy is one call, and moves less than computing as many tokens reads;
        a prefill is padded, so that copying less than the padding would often save nothing.
        """
        return Capabilities(
            num_blocks=self._num_slots,
            block_size=self._plan.limits.max_seq_len,
            max_top_k=self._max_top_k(),
            min_copied_tokens=PADDED_TO,
        )

    def _max_top_k(self) -> int | None:
        is_whole = self._num_candidates >= self._plan.vocab_size
        return None if is_whole or self._memory.full is not None else self._num_candidates

    def start(self, step: Step) -> None:
        """See ModelRunner. Raises SlotError rather than let a row leave its slot."""
        packed = self._packer.pack(step)
        limits = self._plan.limits
        for launch in packed.launches:
            launch.check(num_slots=self._num_slots, max_seq_len=limits.max_seq_len)
        self._memory.copy(step.copies)
        self._prepared, self._rows = self._memory.prepare(packed.launches), packed.rows
        for prepared in self._prepared:
            self._launch(prepared)
        self._memory.fetch()
        self._done.record(self._stream)

    def _launch(self, prepared: Prepared) -> None:
        def bind(context: Context) -> None:
            context.bind(prepared.shapes, prepared.addresses)

        launch = prepared.launch
        if launch.profile == DECODE_PROFILE:
            self._decode.run((launch.num_rows, launch.first_slot), bind)
        else:
            bind(self._prefill)
            self._prefill.enqueue()

    def wait(self) -> CandidateScores:
        """See ModelRunner."""
        self._done.synchronize()
        parts = [prepared.candidates for prepared in self._prepared]
        candidates = Candidates(
            np.concatenate([part.logits for part in parts])[self._rows],
            np.concatenate([part.ids for part in parts])[self._rows],
            np.concatenate([part.log_sum_exp for part in parts])[self._rows],
        )
        return CandidateScores(candidates, self._plan.vocab_size, self._full_logits())

    def _full_logits(self) -> Callable[[list[int]], NDArray[np.float32]] | None:
        """Returns a function that fetches the logits of sampled rows; None if there are none."""
        full, rows = self._memory.full, self._rows
        if full is None:
            return None
        return lambda wanted: full.fetch([rows[index] for index in wanted])

    def close(self) -> None:
        """See ModelRunner. So does dropping the runner before any engine has it."""
        self._freed()


def _close_here(process: OwnProcess, resources: ExitStack) -> None:
    """Closes nothing in a forked process: the memory belongs to its parent."""
    if process.is_this:
        resources.close()
