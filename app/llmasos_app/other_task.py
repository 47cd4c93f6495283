"""Transports of what a model was not built for: every request says which task it is for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from llmasos.engine.plan import EnginePlan
from llmasos.errors import InvalidRequestError


class NoGeneration:
    """The `Transport` and `AsyncTransport` of an encoder, which continues no text."""

    max_concurrent: int | None = None

    def __init__(self, plan: EnginePlan, close: Callable[[], object]) -> None:
        """close: is called when this is closed, more than once maybe."""
        self._plan = plan
        self._close = close

    def prepare(self, prompt: object) -> Any:
        del prompt
        raise other_task(self._plan, "generate")

    def start(self, request: object) -> NoReturn:
        del request
        raise other_task(self._plan, "generate")

    def close(self) -> None:
        self._close()

    async def aclose(self) -> None:
        await asyncio.to_thread(self._close)


class NoEncoding:
    """The `EncodingTransport` of a decoder, which makes nothing else of a text."""

    def __init__(self, plan: EnginePlan) -> None:
        self._plan = plan

    def embed(self, texts: Sequence[Any], embed: object, options: object) -> NoReturn:
        del texts, embed, options
        raise other_task(self._plan, "embed")

    def classify(self, texts: Sequence[Any], options: object) -> NoReturn:
        del texts, options
        raise other_task(self._plan, "classify")

    def classify_tokens(
        self, texts: Sequence[Any], aggregation: object, options: object
    ) -> NoReturn:
        del texts, aggregation, options
        raise other_task(self._plan, "classify_tokens")

    def fill_mask(self, texts: Sequence[Any], top_k: object, options: object) -> NoReturn:
        del texts, top_k, options
        raise other_task(self._plan, "fill_mask")


def other_task(plan: EnginePlan, wanted: str) -> InvalidRequestError:
    """The error of a request for another task than the model's."""
    return InvalidRequestError(
        f"{plan.name} is built for the task {plan.task}, and the task asked of it is {wanted}"
    )
