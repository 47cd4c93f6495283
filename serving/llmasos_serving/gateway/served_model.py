"""The model behind a gateway: its name, its limit, and its tokenizer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from llmasos.engine.plan import EnginePlan, Task
from llmasos.text.tokenizer import Tokenizer
from llmasos.triton.async_triton_client import AsyncTritonClient

from llmasos_serving.gateway.answer.tool_calls import CallFormat, call_format
from llmasos_serving.gateway.api_error import ApiError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """client: reaches the engine. name: by which clients ask for it. created: seconds since 1970.
    max_seq_len: most tokens of a prompt and its answer. call_format: how the model writes calls of
    tools; None if its chat template knows none that is read here. task: what the engine does.
    """

    client: AsyncTritonClient
    name: str
    max_seq_len: int
    tokenizer: Tokenizer
    call_format: CallFormat | None = None
    task: Task = "generate"
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def of_plan(
        cls, directory: Path, client: AsyncTritonClient, *, name: str | None = None
    ) -> ServedModel:
        """Reads an engine plan; raises PlanError. name: by default the plan's."""
        plan = EnginePlan.read(directory)
        tokenizer = Tokenizer.load(directory)
        return cls(
            client=client,
            name=name or plan.name,
            max_seq_len=plan.limits.max_seq_len,
            tokenizer=tokenizer,
            call_format=call_format(tokenizer.chat_template_text),
            task=plan.task,
        )

    def check_task(self, wanted: Task, path: str) -> None:
        """Raises ApiError for a request whose path is for models of another task."""
        if self.task != wanted:
            raise ApiError(
                f"{path} is for models of the task {wanted}, {self.name!r} is built for the task "
                f"{self.task}",
                param="model",
                code="wrong_task",
            )
