"""An error as the text that crosses the wire, and back: the code at its start names its class.

Triton carries the errors of a model as text alone: a gRPC stream has no status for them, and
HTTP's status is 400 whatever happened. So that text begins with the code of the error's class,
in brackets, and its class is read from there and from nothing else. What a client has sent may
be quoted behind it, and can change nothing.
"""

from __future__ import annotations

import re

from llmasos.errors import EngineStoppedError, LLMasOSError, ServerError

# An ensemble puts its own name before the error of a step. The name is the operator's choice.
_CODED = re.compile(r"(?:in ensemble '[^']*', )?\[(?P<code>[a-z_]+)\] (?P<message>.*)", re.DOTALL)


def error_classes() -> dict[str, type[LLMasOSError]]:
    """Every error class by its code; a class without a code of its own shares its parent's."""
    found: dict[str, type[LLMasOSError]] = {}
    left = [LLMasOSError]
    while left:
        kind = left.pop()
        if "code" in vars(kind):
            found[kind.code] = kind
        left += kind.__subclasses__()
    return found


def error_text(error: LLMasOSError) -> str:
    """The text that a server sends: the code in brackets, then the message."""
    return f"[{error.code}] {error}"


def error_of_text(text: str, *, refused: bool = False) -> LLMasOSError:
    """The error that a server sent.

    A text without a known code is Triton's own: an EngineStoppedError, or a ServerError where
    its status says that Triton refused the request.
    """
    coded = _CODED.fullmatch(text)
    kind = error_classes().get(coded["code"]) if coded else None
    if coded and kind:
        return kind(coded["message"])
    return ServerError(text) if refused else EngineStoppedError(text)
