"""The interface between the executor and a compiled engine: one forward at a time."""

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
        """Begins a step and returns while it runs."""
        ...

    def wait(self) -> Scores:
        """Returns the scores of the step that was started, a row for each of `step.sampled`.

        They lie in the runner's memory and are valid until the next step is started.
        """
        ...

    def close(self) -> None:
        """Frees its memory. No step runs then, and none is started later."""
        ...
