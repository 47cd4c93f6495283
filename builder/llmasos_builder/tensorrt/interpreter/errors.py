"""What an interpreter says instead of computing something else than TensorRT would."""

from __future__ import annotations

from llmasos.errors import LLMasOSError


class InterpretationError(LLMasOSError):
    """A network, or what it is fed, that has no defined result; the message names the layer."""
