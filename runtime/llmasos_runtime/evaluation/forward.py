"""A packed engine on the CPU that returns the logits of any position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from llmasos.engine.plan import EnginePlan
from llmasos.engine.plan_lock import PlanHold
from llmasos.errors import PlanError
from llmasos.forked import OwnProcess
from numpy.typing import NDArray

from llmasos_runtime.kv_cache.blocks import blocks_for
from llmasos_runtime.machine.resources import available_memory_bytes, num_physical_cores
from llmasos_runtime.packing import Ints, PackedRow, pack_rows

_CACHE_SHARE = 0.25
"""Largest share of the available memory that the KV cache may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some tokens of a sequence in one forward.

    slot: the sequence's slot in the KV cache. past: its tokens already in the cache. wanted: index
    of the first of these tokens whose logits are wanted.
    """

    slot: int
    past: int
    token_ids: tuple[int, ...]
    wanted: int

    @property
    def num_wanted(self) -> int:
        return len(self.token_ids) - self.wanted


class _Steps(Protocol):
    """Computes steps from packed inputs (`llmasos_runtime.packing.pack_rows`)."""

    def bind(self, name: str, array: Ints) -> None: ...
    def start(self) -> None: ...
    def wait(self) -> NDArray[np.float32]: ...


class PackedModel(Protocol):
    """A loaded engine that computes steps over a KV cache of blocks."""

    @property
    def block_size(self) -> int: ...
    @property
    def block_bytes(self) -> int: ...
    @property
    def chunk_multiple(self) -> int: ...
    def forward(self, *, num_blocks: int) -> _Steps: ...


class PackedForward:
    """One engine with a KV cache of slots of slot_tokens tokens each."""

    def __init__(
        self,
        model: PackedModel,
        plan: EnginePlan,
        *,
        slot_tokens: int,
        hold: PlanHold | None = None,
    ) -> None:
        """hold: the plan's lock, released with this. Raises PlanError if not even one slot fits."""
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
        """The multiple at which a part must end, unless it is its sequence's last."""
        return self._model.chunk_multiple

    def run(self, parts: Sequence[Part]) -> list[NDArray[np.float32]]:
        """Returns the wanted logits of each part, [its wanted tokens, vocab_size].

        They lie in the engine's memory and are valid until the next call.
        """
        self._process.check()
        rows = [self._row(part) for part in parts]
        for name, array in pack_rows(rows, block_size=self._model.block_size).items():
            self._forward.bind(name, array)
        self._forward.start()
        logits = self._forward.wait()
        ends = np.cumsum([part.num_wanted for part in parts])
        return np.split(logits[: ends[-1]], ends[:-1])

    def _row(self, part: Part) -> PackedRow:
        first = part.slot * self._blocks_each
        return PackedRow(
            token_ids=part.token_ids,
            past=part.past,
            block_table=range(first, first + self._blocks_each),
            num_wanted=part.num_wanted,
        )


def load_forward(plan_dir: Path, *, slot_tokens: int, num_threads: int | None) -> PackedForward:
    """Checks and loads a plan for evaluation.

    Raises PlanError, also for a plan that was not compiled for CPUs.
    """
    hold = PlanHold(plan_dir)
    plan = EnginePlan.load(plan_dir)
    plan.check_task("generate")
    if plan.target not in ("openvino", "native"):
        raise PlanError(
            f"{plan.name} is compiled for {plan.target}, which does not return the logits of "
            "every token",
            hint="build the checkpoint for openvino or native to evaluate it",
        )
    model = _load_model(plan, plan_dir, num_threads)
    return PackedForward(model, plan, slot_tokens=slot_tokens, hold=hold)


def _load_model(plan: EnginePlan, plan_dir: Path, num_threads: int | None) -> PackedModel:
    """Each target's own code is imported when it is needed."""
    if plan.target == "native":
        from llmasos_runtime.native.load import load_native_model  # noqa: PLC0415

        return load_native_model(plan, plan_dir, num_threads=num_threads, pin_threads=False)
    from llmasos_runtime.openvino.paged_model import load_paged_model  # noqa: PLC0415

    threads = num_threads or num_physical_cores()
    return load_paged_model(plan, plan_dir, num_threads=threads, pin_threads=False)
