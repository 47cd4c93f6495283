"""The packed OpenVINO engine, asked for the logits of any position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from llmasos.engine.engine_io import INPUT_IDS, POSITION_IDS
from llmasos.engine.plan import EnginePlan
from llmasos.engine.plan_lock import PlanHold
from llmasos.errors import PlanError
from llmasos.forked import OwnProcess
from numpy.typing import NDArray

from llmasos_runtime.kv_cache.blocks import blocks_for
from llmasos_runtime.machine.resources import available_memory_bytes, num_physical_cores
from llmasos_runtime.openvino.packing import SAMPLED_POSITIONS, Inputs
from llmasos_runtime.openvino.paged_model import PagedModel, load_paged_model

_CACHE_SHARE = 0.25
"""Of the memory that is available, what the KV cache may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some tokens of a sequence, in one forward.

    slot: which of the KV cache's equal parts the sequence has. past: its tokens already
    there. wanted: of these tokens, from which on the logits are wanted.
    """

    slot: int
    past: int
    token_ids: tuple[int, ...]
    wanted: int


class PackedForward:
    """One engine with a KV cache of slots, each as long as slot_tokens."""

    def __init__(
        self,
        model: PagedModel,
        plan: EnginePlan,
        *,
        slot_tokens: int,
        hold: PlanHold | None = None,
    ) -> None:
        """hold: of the plan, let go with this. Raises PlanError if not one slot fits."""
        self.plan = plan
        self._hold = hold
        self._model = model
        self._blocks_each = blocks_for(slot_tokens, model.block_size)
        slot_bytes = self._blocks_each * model.block_bytes
        available = int(available_memory_bytes() * _CACHE_SHARE)
        self.num_slots = min(plan.limits.max_batch_size, available // slot_bytes)
        if self.num_slots == 0:
            raise PlanError(
                f"one window of {slot_tokens} tokens needs {slot_bytes} bytes of KV cache, a "
                f"quarter of the memory is {available}",
                hint="take a shorter window",
            )
        self._process = OwnProcess(f"the engine of {plan.name}")
        self._forward = model.forward(num_blocks=self.num_slots * self._blocks_each)

    @property
    def chunk_multiple(self) -> int:
        """Where a part that is not its sequence's last must end: see Capabilities."""
        return self._model.chunk_multiple

    def run(self, parts: Sequence[Part]) -> list[NDArray[np.float32]]:
        """The wanted logits of each part, [its wanted tokens, vocab_size].

        They are the engine's own memory, and valid until the next call.
        """
        self._process.check()
        for name, array in self._pack(parts).items():
            self._forward.bind(name, array)
        self._forward.start()
        rows = self._forward.wait()
        ends = np.cumsum([len(part.token_ids) - part.wanted for part in parts])
        return np.split(rows[: ends[-1]], ends[:-1])

    def _pack(self, parts: Sequence[Part]) -> Inputs:
        """As `llmasos_runtime.openvino.packing.pack` draws it."""
        begins = np.cumsum([0, *(len(part.token_ids) for part in parts)])
        wanted = [
            np.arange(begin + part.wanted, begin + len(part.token_ids))
            for begin, part in zip(begins[:-1], parts, strict=True)
        ]
        sampled = np.concatenate(wanted)
        positions = [np.arange(p.past, p.past + len(p.token_ids)) for p in parts]
        tables = [self._table(part) for part in parts]
        return {
            INPUT_IDS: np.concatenate([p.token_ids for p in parts]).astype(np.int64),
            POSITION_IDS: np.concatenate(positions).astype(np.int64),
            "past_lens": np.array([part.past for part in parts], np.int32),
            "subsequence_begins": begins.astype(np.int32),
            "block_indices": np.concatenate(tables).astype(np.int32),
            "block_indices_begins": np.cumsum([0, *map(len, tables)]).astype(np.int32),
            "max_context_len": np.array(max(map(_end, parts)), np.int32),
            SAMPLED_POSITIONS: (sampled if sampled.size else np.array([0])).astype(np.int64),
        }

    def _table(self, part: Part) -> NDArray[np.int64]:
        first = part.slot * self._blocks_each
        return np.arange(first, first + blocks_for(_end(part), self._model.block_size))


def load_forward(plan_dir: Path, *, slot_tokens: int, num_threads: int | None) -> PackedForward:
    """Check and load a plan for evaluation.

    Raises PlanError, for a plan that was not compiled for CPUs too.
    """
    hold = PlanHold(plan_dir)
    plan = EnginePlan.load(plan_dir)
    if plan.target != "openvino":
        raise PlanError(
            f"{plan.name} is compiled for {plan.target}, which does not return the logits of "
            "every token",
            hint="build the checkpoint for openvino to evaluate it",
        )
    threads = num_threads or num_physical_cores()
    model = load_paged_model(plan, plan_dir, num_threads=threads, pin_threads=False)
    return PackedForward(model, plan, slot_tokens=slot_tokens, hold=hold)


def _end(part: Part) -> int:
    return part.past + len(part.token_ids)
