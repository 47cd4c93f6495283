"""Runs steps on the CPU with OpenVINO."""

from __future__ import annotations

from functools import partial

from llmasos_runtime.capabilities import Capabilities
from llmasos_runtime.openvino.paged_model import PagedModel
from llmasos_runtime.packing import Inputs, Ints, advance, pack
from llmasos_runtime.sampling.scores import Logits
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import Step

_MAX_DRAFT_TOKENS = 12
"""Draft tokens of one sequence in a step. The packed form takes any number; more seldom pay."""


class OpenVINORunner:
    """Runs steps one at a time over one KV cache.

    num_blocks: size of the KV cache; the system provides its memory when it is first used.
    """

    def __init__(self, model: PagedModel, *, num_blocks: int) -> None:
        self._capabilities = Capabilities(
            num_blocks=num_blocks,
            block_size=model.block_size,
            chunk_multiple=model.chunk_multiple,
            # In a gathered step each sequence with draft tokens would be a launch of its own.
            max_draft_tokens=0 if model.gathers else _MAX_DRAFT_TOKENS,
            copies_blocks=model.encoder is not None,
        )
        self._forward = model.forward(num_blocks=num_blocks)
        self._inputs: Inputs = {}
        self._decoded: list[Sequence] = []  # by the last step, a token each, if it did no more

    @property
    def capabilities(self) -> Capabilities:
        """See ModelRunner."""
        return self._capabilities

    def start(self, step: Step) -> None:
        """See ModelRunner."""
        if step.copies:
            self._forward.copy(step.copies)
        if step.texts:
            self._forward.encode(step.texts)
        sequences = [share.sequence for share in step.shares]
        if step.num_decode_tokens == step.num_tokens == len(sequences):
            follows, self._decoded = sequences == self._decoded, sequences
        else:
            follows, self._decoded = False, []
        make = partial(advance, self._inputs) if follows else pack
        for name, array in make(step, block_size=self._capabilities.block_size).items():
            self._set(name, array)
        self._forward.start()

    def _set(self, name: str, array: Ints) -> None:
        """Binds an array that the network reads; an array of the same shape is written in place."""
        bound = self._inputs.get(name)
        if bound is not None and bound.shape == array.shape:
            bound[...] = array
            return
        self._inputs[name] = array
        self._forward.bind(name, array)

    def wait(self) -> Logits:
        """See ModelRunner."""
        return Logits(self._forward.wait())

    def close(self) -> None:
        """See ModelRunner: OpenVINO's objects free their memory when nobody knows them."""
