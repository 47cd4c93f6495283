"""The smallest request to a server, which shows that all of its models answer."""

from __future__ import annotations

from contextlib import suppress

from llmasos.engine.plan import Task
from llmasos.errors import InvalidRequestError
from llmasos.triton.triton_client import TritonClient


def ask_for_a_token(client: TritonClient, task: Task) -> None:
    """Asks for one token, or for what a text of one letter becomes.

    Raises LLMasOSError when there is no answer.
    """
    match task:
        case "generate":
            client.generate_text("a", max_tokens=1)
        case "embed":
            client.embed(["a"])
        case "classify":
            client.classify(["a"])
        case "classify_tokens":
            client.classify_tokens(["a"])
        case "fill_mask":
            with suppress(InvalidRequestError):  # it has no gap, which the model says
                client.fill_mask(["a"])
