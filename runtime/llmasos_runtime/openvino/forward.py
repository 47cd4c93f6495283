"""Runs a compiled network over its KV cache, one step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from llmasos.forked import leave_to_parent
from llmasos.openvino_import import ov
from numpy.typing import NDArray

from llmasos_runtime.openvino.cache_tensor import CacheTensor, bind_arrays, copy_beginnings
from llmasos_runtime.openvino.encoder_forward import EncoderForward
from llmasos_runtime.packing import Inputs, Ints
from llmasos_runtime.sequences.encoded_text import EncodedText
from llmasos_runtime.sequences.step import SlotCopy


class Forward(Protocol):
    """Computes steps from the packed inputs of `packing.pack`, one after the other.

    It owns the memory of the KV cache, which the system provides when it is first used.
    """

    def encode(self, texts: Sequence[EncodedText]) -> None:
        """Encodes texts into their blocks, before the step that needs them."""
        ...

    def copy(self, copies: Sequence[SlotCopy]) -> None:
        """Copies beginnings of blocks, in this order."""
        ...

    def bind(self, name: str, array: Ints) -> None:
        """Reads an input from this array from now on; its content may change between steps."""
        ...

    def start(self) -> None:
        """Begins a step and returns while it runs."""
        ...

    def wait(self) -> NDArray[np.float32]:
        """Returns the logits of the sampled positions [positions, vocab_size], valid until the
        next start.
        """
        ...


class PagedForward:
    """Implements `Forward` with paged attention: a step is one inference."""

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
        self._encoder: EncoderForward | None = None
        self._arrays: dict[str, NDArray[Any]] = {}
        if encoder is not None:
            self._arrays = bind_arrays(self._request, caches, num_blocks=num_blocks)
            self._encoder = EncoderForward(encoder, self._arrays)
            return
        for cache in caches:
            shape = ov.Shape([num_blocks, *cache.block_shape])
            self._request.set_tensor(cache.name, ov.Tensor(cache.type, shape))

    def encode(self, texts: Sequence[EncodedText]) -> None:
        """See Forward."""
        assert self._encoder is not None
        self._encoder.run(texts)

    def copy(self, copies: Sequence[SlotCopy]) -> None:
        """See Forward."""
        assert self._arrays, "the runner says that it copies nothing"
        copy_beginnings(self._arrays.values(), copies)

    def bind(self, name: str, array: Ints) -> None:
        """See Forward."""
        self._inputs[name] = array  # lives as long as it is read
        self._request.set_tensor(name, ov.Tensor(array, shared_memory=True))

    def start(self) -> None:
        """See Forward."""
        self._request.start_async()

    def wait(self) -> NDArray[np.float32]:
        """See Forward."""
        self._request.wait()
        logits: NDArray[np.float32] = self._request.get_output_tensor(0).data
        return logits.reshape(-1, logits.shape[-1])
