"""Translates exceptions of TensorRT-LLM into errors. It has never run with that package."""

from __future__ import annotations

import logging
from typing import Any

from llmasos.errors import EngineStoppedError, InvalidRequestError, LLMasOSError

_log = logging.getLogger(__name__)


def failure_of(error: BaseException, library: Any) -> LLMasOSError:
    """Returns the error: the request was refused, or failed; anything unknown stops the engine."""
    if isinstance(error, LLMasOSError):
        return error
    text = " ".join(str(error).split())
    if isinstance(error, ValueError):
        return InvalidRequestError(f"TensorRT-LLM refuses the request: {text}")
    if isinstance(error, library.llmapi.RequestError):
        return LLMasOSError(f"TensorRT-LLM fails the request: {text}")
    _log.critical("TensorRT-LLM has stopped", exc_info=error)
    return EngineStoppedError(f"the engine has stopped: {type(error).__name__}: {text}")
