"""Runs steps on the CPU with OpenVINO."""

from __future__ import annotations

from functools import partial

from llmasos.openvino_import import ov

from llmasos_runtime.openvino.packing import Inputs, Ints, advance, pack
from llmasos_runtime.openvino.paged_model import PagedModel
from llmasos_runtime.sampling.scores import Logits
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.sequences.step import Step


class OpenVINORunner:
    """One KV cache; steps run one at a time.

    num_blocks: the KV cache's size; its memory is taken from the system when it is first used.
    """

    def __init__(self, model: PagedModel, *, num_blocks: int) -> None:
        self._model = model
        self._num_blocks = num_blocks
        self._forward = model.forward(num_blocks=num_blocks)
        self._inputs: Inputs = {}
        self._decoded: list[Sequence] = []  # by the last step, a token each, if it did no more

    @property
    def block_size(self) -> int:
        return self._model.block_size

    @property
    def num_blocks(self) -> int:
        return self._num_blocks

    @property
    def chunk_multiple(self) -> int:
        """A quantized block shares scales between its tokens, so it is written as a whole."""
        is_quantized = any(cache.type == ov.Type.u8 for cache in self._model.caches)
        return self.block_size if is_quantized else 1

    @property
    def max_drafts(self) -> int:
        """The packed form takes any; more than these seldom pay. Where a sequence with drafts would
        be a launch of its own, none does.
        """
        return 0 if self._model.gathers else 12

    def start(self, step: Step) -> None:
        """See ModelRunner."""
        sequences = [share.sequence for share in step.shares]
        if step.num_decode_tokens == step.num_tokens == len(sequences):
            follows, self._decoded = sequences == self._decoded, sequences
        else:
            follows, self._decoded = False, []
        make = partial(advance, self._inputs) if follows else pack
        for name, array in make(step, block_size=self.block_size).items():
            self._set(name, array)
        self._forward.start()

    def _set(self, name: str, array: Ints) -> None:
        """The network reads our arrays; one of the same shape as before is written in place."""
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
