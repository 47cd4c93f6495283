"""What the executor asks of a compiled engine: one forward at a time."""

from __future__ import annotations

from typing import Protocol

from llmasos_runtime.sampling.scores import Scores
from llmasos_runtime.sequences.step import Step


class ModelRunner(Protocol):
    """Runs steps one after the other. It owns the memory of the KV cache.

    block_size: tokens of one KV block. num_blocks: how many the cache has.
    chunk_multiple: where chunks of a prompt must end (see `Scheduler`).

    One that can score the positions of drafts also says `max_drafts`, the most that one
    sequence may have in a step; without it none has any. One whose scores know the likeliest
    tokens alone also says `max_top_k`, the most that top_k can be, or None for any. One whose
    blocks hold a whole sequence each, and which makes a step's copies, also says
    `min_copied_tokens`, from how many on a copy is sooner done than computing them.
    """

    @property
    def block_size(self) -> int: ...
    @property
    def num_blocks(self) -> int: ...
    @property
    def chunk_multiple(self) -> int: ...

    def start(self, step: Step) -> None:
        """Begin a step and return while it runs."""
        ...

    def wait(self) -> Scores:
        """The scores of the step that was started, a row for each of `step.sampled`.

        They are the runner's own memory, and are valid until the next step is started.
        """
        ...

    def close(self) -> None:
        """Free its memory. No step runs then, and none is started later."""
        ...
