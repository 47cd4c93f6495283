"""A native engine over its KV cache, asked for one step at a time.

A step of many tokens is several passes through the network, one after the other: no number
depends on how a step is divided.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from llmasos.engine.native_engine import BEST_BYTES, BLOCK_SIZE, FileField, NativeRecord, padded
from llmasos.engine.native_step import StepField
from llmasos.engine.plan import EnginePlan
from numpy.typing import NDArray

from llmasos_runtime.native.code import StepFunction
from llmasos_runtime.native.memory import Memory, Sizes, Weights
from llmasos_runtime.native.team import Numbers, Team
from llmasos_runtime.packing import SAMPLED_POSITIONS, Inputs, Ints
from llmasos_runtime.sequences.step import SlotCopy

Words = NDArray[np.int32]
_NO_TOKEN = np.iinfo(np.int32).max


class _Pass(NamedTuple):
    """Rows begin to end of a step; first_sampled, last_sampled: of its sampled positions."""

    begin: int
    end: int
    first_sampled: int
    last_sampled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeModel:
    """A linked engine. cores: on which each thread stays; None lets the system choose."""

    plan: EnginePlan
    record: NativeRecord
    sizes: Sizes
    weights: Weights
    function: StepFunction
    cores: tuple[int, ...] | None

    @property
    def block_size(self) -> int:
        return BLOCK_SIZE

    @property
    def block_bytes(self) -> int:
        """Memory of one KV block over all layers."""
        return self.sizes.block_bytes

    @property
    def chunk_multiple(self) -> int:
        """A prompt may be cut anywhere: each token has scales of its own."""
        return 1

    def forward(self, *, num_blocks: int) -> NativeForward:
        """Over a KV cache of its own, of so many blocks."""
        return NativeForward(self, num_blocks=num_blocks)


class NativeForward:
    """Computes steps from the packed inputs of `packing.pack`; its threads are its own."""

    def __init__(self, model: NativeModel, *, num_blocks: int) -> None:
        sizes = model.sizes
        self._model, self._sizes = model, sizes
        self._arguments: Numbers = np.zeros(len(StepField), np.int64)
        kv_bytes = num_blocks * sizes.block_bytes
        memory = Memory(sizes.num_bytes + kv_bytes)
        self._buffers = {name: memory.take(size) for name, size in sizes.buffers.items()}
        kv = memory.take(kv_bytes)
        self._kv = kv.reshape(sizes.num_layers, num_blocks, -1)
        self._fill(num_blocks, kv)
        self._team = Team(
            model.function,
            self._arguments,
            num_threads=sizes.num_threads,
            num_counters=sizes.num_layers,
            cores=model.cores,
            keep_alive=(memory, model),
        )
        self._inputs: Inputs = {}
        self._logits: NDArray[np.float32] = np.empty((0, self._logits_width), np.float32)

    def bind(self, name: str, array: Ints) -> None:
        """Read an input from this array, which may change between two steps, from now on."""
        self._inputs[name] = array

    def copy(self, copies: Iterable[SlotCopy]) -> None:
        """Copy blocks to others, in this order; what a copy does not need is written over later."""
        for source, target, _, _ in copies:
            self._kv[:, target] = self._kv[:, source]

    def start(self) -> None:
        """Nothing runs before `wait`: the thread that waits computes too."""

    def wait(self) -> NDArray[np.float32]:
        """The logits of the sampled positions [positions, vocab_size], until the next step."""
        return self.logits(self._inputs)

    def stay(self) -> None:
        """Keep the calling thread on the core that is meant for it."""
        self._team.stay()

    def logits(self, inputs: Inputs) -> NDArray[np.float32]:
        """Compute a step; the logits of its sampled positions [positions, vocab_size]."""
        num_sampled = len(inputs[SAMPLED_POSITIONS])
        if num_sampled > len(self._logits):
            self._logits = np.empty((num_sampled, self._logits_width), np.float32)
        row = 4 * self._logits_width
        for one in self._passes(inputs):
            self._load(inputs, one, self._logits.ctypes.data + row * one.first_sampled)
            self._team.run()
        return self._logits[:num_sampled, : self._model.plan.vocab_size]

    def likeliest(self, inputs: Inputs) -> list[int] | None:
        """Compute a step; the likeliest token of each sampled position, the lowest of equals.

        None where some logit is not a finite number.
        """
        found: list[int] = []
        for one in self._passes(inputs):
            self._load(inputs, one, 0)
            self._team.run()
            tokens = self._largest(one.last_sampled - one.first_sampled)
            if tokens is None:
                return None
            found += tokens
        return found

    def close(self) -> None:
        """End the threads; no step runs then."""
        self._team.close()

    @property
    def _logits_width(self) -> int:
        return padded(self._model.plan.vocab_size, 32)

    def _fill(self, num_blocks: int, kv: NDArray[np.uint8]) -> None:
        """The arguments that stay the same."""
        sizes, weights, record = self._sizes, self._model.weights, self._model.record
        field, arguments = StepField, self._arguments
        for name, buffer in self._buffers.items():
            arguments[field[name.upper()]] = buffer.ctypes.data
        for part in FileField:
            arguments[field[part.name]] = weights.addresses[part]
        values = {
            field.LAYERS: sizes.num_layers,
            field.HIDDEN: sizes.hidden,
            field.TRUE_HIDDEN: record.hidden_size,
            field.INTER: sizes.inner,
            field.HEADS: sizes.num_heads,
            field.KV_HEADS: sizes.num_kv_heads,
            field.TRUE_HEAD: self._model.plan.head_size,
            field.VOCAB: self._model.plan.vocab_size,
            field.VOCAB_BLOCKS: self._logits_width // 32,
            field.EPS: int(np.float32(record.norm_eps).view(np.int32)),
            field.LAYER_TABLE: weights.layers.ctypes.data,
            field.KV: kv.ctypes.data,
            field.KV_BLOCKS: num_blocks,
            field.MAX_BLOCKS: sizes.max_blocks,
            field.OWN_SIZE: sizes.own_size,
            field.TEMP_SIZE: sizes.temp_size,
            field.SCRATCH_SIZE: sizes.buffers["scratch"] // sizes.num_threads,
        }
        for place, value in values.items():
            arguments[place] = value

    def _passes(self, inputs: Inputs) -> Iterator[_Pass]:
        num_rows, sampled = len(inputs["input_ids"]), inputs[SAMPLED_POSITIONS]
        for begin in range(0, num_rows, self._sizes.max_rows):
            end = min(begin + self._sizes.max_rows, num_rows)
            first, last = np.searchsorted(sampled, [begin, end]).tolist()
            yield _Pass(begin, end, first, last)

    def _load(self, inputs: Inputs, one: _Pass, logits: int) -> None:
        """Write what a pass computes to where the step reads it."""
        begin, end = one.begin, one.end
        begins = inputs["subsequence_begins"]
        first = int(np.searchsorted(begins, begin, side="right")) - 1
        last = int(np.searchsorted(begins, end, side="left"))
        self._words("tokens")[: end - begin] = inputs["input_ids"][begin:end]
        self._words("positions")[: end - begin] = inputs["position_ids"][begin:end]
        starts = np.clip(begins[first : last + 1], begin, end) - begin
        self._words("seq_start")[: len(starts)] = starts
        tables, blocks = self._words("tables"), inputs["block_indices"]
        limits = inputs["block_indices_begins"][first : last + 1].tolist()
        for index, (low, high) in enumerate(pairwise(limits)):
            start = index * self._sizes.max_blocks
            tables[start : start + high - low] = blocks[low:high]
        sampled = inputs[SAMPLED_POSITIONS][one.first_sampled : one.last_sampled] - begin
        self._words("sample_rows")[: len(sampled)] = sampled
        field, arguments = StepField, self._arguments
        arguments[field.ROWS], arguments[field.SEQS] = end - begin, last - first
        arguments[field.SAMPLES], arguments[field.LOGITS] = len(sampled), logits

    def _words(self, name: str) -> Words:
        return self._buffers[name].view(np.int32)

    def _largest(self, num_sampled: int) -> list[int] | None:
        """Of all threads' lanes; see `llmasos_builder.native.head`."""
        shape = (self._sizes.num_threads, num_sampled, 3, 16)
        size = self._sizes.num_threads * num_sampled * BEST_BYTES
        words = self._words("best")[: size // 4].reshape(shape).transpose(2, 1, 0, 3)
        peaks, ids, poison = words.reshape(3, num_sampled, 16 * self._sizes.num_threads)
        if np.isnan(poison.view(np.float32)).any():
            return None
        values = peaks.view(np.float32)
        largest = values.max(axis=1, keepdims=True)
        lowest: list[int] = np.where(values == largest, ids, _NO_TOKEN).min(axis=1).tolist()
        return lowest
