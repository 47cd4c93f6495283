"""The KV cache of a TensorRT engine: one slot for each sequence, as long as max_seq_len.

Tests check what a copy reads and writes over a fake CUDA, and over a real one where there is a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmasos_runtime.tensorrt.cuda import Cuda, CudaError, DeviceMemory, Stream
from llmasos_runtime.tensorrt.launch import SlotError
from llmasos_runtime.tensorrt.staging import ALIGNMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotCacheTensor:
    """One key or value cache of a layer; output: the name of the cache updated in place.

    slot_shape: KV heads, max_seq_len, head size. item_bytes: bytes of one number.
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
        """True if every slot begins where TensorRT lets a tensor begin."""
        return self.slot_bytes % ALIGNMENT == 0


class KVSlots:
    """All caches in one allocation, one after the other, so that one copy covers all layers.

    They start as zeros: a mask hides unwritten content, but NaN times 0 is NaN.

    caches: of one shape and type. Raises CudaError.
    """

    def __init__(
        self, cuda: Cuda, caches: tuple[SlotCacheTensor, ...], *, num_slots: int, stream: Stream
    ) -> None:
        (self._slot_shape,) = {cache.slot_shape for cache in caches}
        (self._item_bytes,) = {cache.item_bytes for cache in caches}
        self.caches = caches
        self._num_slots = num_slots
        self._memory = DeviceMemory(cuda, num_slots * sum(cache.slot_bytes for cache in caches))
        try:
            self._memory.zero(stream)
            stream.synchronize()
        except CudaError:
            self.close()
            raise

    def addresses(self, first_slot: int) -> dict[str, int]:
        """Returns the address of every cache from this slot on, by the names of its input and
        output.
        """
        places: dict[str, int] = {}
        address = self._memory.address
        for cache in self.caches:
            place = address + first_slot * cache.slot_bytes
            places[cache.input] = places[cache.output] = place
            address += self._num_slots * cache.slot_bytes
        return places

    def copy(self, source: int, target: int, num_tokens: int, stream: Stream) -> None:
        """Copies the first tokens of a slot to another, in every cache.

        To CUDA the caches are layers of rows, a row for each head of each slot, with its tokens one
        after the other. Raises SlotError for a range outside the slots.
        """
        heads, length, size = self._slot_shape
        if not (0 <= source != target >= 0 and max(source, target) < self._num_slots):
            raise SlotError(f"a copy from slot {source} to {target}, there are {self._num_slots}")
        if not 1 <= num_tokens <= length:
            raise SlotError(f"a copy of {num_tokens} tokens, a slot has {length}")
        token_bytes = size * self._item_bytes
        stream.copy_rows(
            self._memory,
            row_bytes=length * token_bytes,
            num_rows=self._num_slots * heads,
            source=source * heads,
            target=target * heads,
            size=(num_tokens * token_bytes, heads, len(self.caches)),
        )

    def close(self) -> None:
        self._memory.close()
