"""The KV cache of a TensorRT engine: one slot for each sequence, as long as max_seq_len."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmasos_runtime.tensorrt.cuda import Cuda, CudaError, DeviceMemory, Stream
from llmasos_runtime.tensorrt.staging import ALIGNMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTensor:
    """One key or value cache of a layer; output: is updated in place.

    slot_shape: KV heads, max_seq_len, head size. item_bytes: of one number.
    """

    input: str
    output: str
    slot_shape: tuple[int, int, int]
    item_bytes: int

    @property
    def slot_bytes(self) -> int:
        return math.prod(self.slot_shape) * self.item_bytes

    @property
    def is_aligned(self) -> bool:
        """Every slot begins where TensorRT lets a tensor begin."""
        return self.slot_bytes % ALIGNMENT == 0


class KVSlots:
    """One allocation for each cache, all zeros at first: what lies in a slot that nobody wrote
    is hidden by a mask, but NaN times nothing is NaN.
    """

    def __init__(
        self, cuda: Cuda, caches: tuple[CacheTensor, ...], *, num_slots: int, stream: Stream
    ) -> None:
        self.caches = caches
        self._memory: list[DeviceMemory] = []
        try:
            for cache in caches:
                self._memory.append(DeviceMemory(cuda, num_slots * cache.slot_bytes))
                self._memory[-1].zero(stream)
            stream.synchronize()
        except CudaError:
            stream.synchronize()
            self.close()
            raise

    def addresses(self, first_slot: int) -> dict[str, int]:
        """Of every cache from this slot on, by the names of its input and its output."""
        places: dict[str, int] = {}
        for cache, memory in zip(self.caches, self._memory, strict=True):
            address = memory.address + first_slot * cache.slot_bytes
            places[cache.input] = places[cache.output] = address
        return places

    def close(self) -> None:
        for memory in self._memory:
            memory.close()
