"""Runs steps of a network with gathered attention: see `block_gather_model`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from llmasos.engine.engine_io import OPENVINO_BLOCK_SIZE
from llmasos.forked import leave_to_parent
from llmasos.openvino_import import ov
from numpy.typing import NDArray

from llmasos_runtime.openvino.block_gather_model import new_name
from llmasos_runtime.openvino.cache_tensor import CacheTensor, bind_arrays, copy_beginnings
from llmasos_runtime.openvino.encoder_forward import EncoderForward
from llmasos_runtime.openvino.microbatches import Microbatch, microbatches
from llmasos_runtime.packing import Inputs, Ints
from llmasos_runtime.sequences.encoded_text import EncodedText
from llmasos_runtime.sequences.step import SlotCopy


class BlockGatherForward:
    """Implements `Forward`: a step is several microbatches, each of which reads the blocks and then
    writes its own keys and values there.
    """

    def __init__(
        self,
        compiled: ov.CompiledModel,
        caches: Sequence[CacheTensor],
        *,
        num_blocks: int,
        encoder: ov.CompiledModel | None = None,
    ) -> None:
        """encoder: of a network that has one."""
        self._compiled = compiled  # lives as long as this
        self._request = compiled.create_infer_request()
        leave_to_parent(self)
        self._inputs: Inputs = {}
        self._microbatches: list[Microbatch] = []
        arrays = bind_arrays(self._request, caches, num_blocks=num_blocks)
        self._caches = {new_name(name): blocks for name, blocks in arrays.items()}
        self._encoder = None if encoder is None else EncoderForward(encoder, arrays)

    def encode(self, texts: Sequence[EncodedText]) -> None:
        """Computes what the decoder sees of these texts into their blocks."""
        assert self._encoder is not None
        self._encoder.run(texts)

    def copy(self, copies: Sequence[SlotCopy]) -> None:
        """See Forward."""
        copy_beginnings(self._caches.values(), copies)

    def bind(self, name: str, array: Ints) -> None:
        """See Forward."""
        self._inputs[name] = array

    def start(self) -> None:
        """See Forward: the microbatches but the first one begin in `wait`."""
        self._microbatches = microbatches(self._inputs, block_size=OPENVINO_BLOCK_SIZE)
        self._begin(self._microbatches[0])

    def wait(self) -> NDArray[np.float32]:
        """See Forward."""
        first, *others = self._microbatches
        logits = self._end(first)
        if not others:
            return logits
        num_rows = sum(len(microbatch.rows) for microbatch in self._microbatches)
        rows = np.empty((num_rows, logits.shape[-1]), np.float32)
        rows[first.rows] = logits
        for microbatch in others:
            self._begin(microbatch)
            rows[microbatch.rows] = self._end(microbatch)
        return rows

    def _begin(self, microbatch: Microbatch) -> None:
        for name, array in microbatch.inputs.items():
            self._request.set_tensor(name, ov.Tensor(array))
        self._request.start_async()

    def _end(self, microbatch: Microbatch) -> NDArray[np.float32]:
        """Returns the wanted logits once the keys and values are in their blocks."""
        self._request.wait()
        for name, blocks in self._caches.items():
            new = self._request.get_tensor(name).data.view(blocks.dtype)
            blocks[microbatch.blocks, :, microbatch.offsets] = new.transpose(0, 2, 1, 3)
        logits: NDArray[np.float32] = self._request.get_output_tensor(0).data
        return logits.reshape(-1, logits.shape[-1])[: len(microbatch.rows)]
