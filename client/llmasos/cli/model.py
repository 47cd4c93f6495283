"""Which model a command talks to: one in this process, or a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmasos.errors import InvalidRequestError

if TYPE_CHECKING:
    from llmasos.llm import LLM
    from llmasos.plan import Precision
    from llmasos.triton_client import TritonClient


def open_model(
    *,
    model: str | None,
    url: str | None,
    precision: Precision,
    revision: str | None,
    threads: int | None,
) -> LLM | TritonClient:
    """Raises InvalidRequestError unless exactly one of model and url is given."""
    if (model is None) == (url is None):
        raise InvalidRequestError("give either --model or --url")
    if url is not None:
        from llmasos.triton_client import TritonClient

        return TritonClient(url)
    from llmasos.llm import LLM

    assert model is not None
    return LLM(model, precision=precision, revision=revision, num_threads=threads)
