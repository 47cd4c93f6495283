"""What the executor asks of a compiled engine: one forward at a time."""

from __future__ import annotations

from typing import Protocol

from llmasos_runtime.capabilities import Capabilities
from llmasos_runtime.sampling.scores import Scores
from llmasos_runtime.sequences.step import Step


class ModelRunner(Protocol):
    """Runs steps one after the other. It owns the memory of the KV cache."""

    @property
    def capabilities(self) -> Capabilities: ...

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
