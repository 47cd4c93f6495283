"""The error of an interpreter that cannot compute what TensorRT would."""

from __future__ import annotations

from llmasos.errors import LLMasOSError


class InterpretationError(LLMasOSError):
    """A network, or its inputs, without a defined result; the message names the layer."""
