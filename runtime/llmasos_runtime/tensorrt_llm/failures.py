"""What an exception of TensorRT-LLM means for a request. It has never run with that package."""

from __future__ import annotations

import logging
from typing import Any

from llmasos.errors import EngineStoppedError, InvalidRequestError, LLMasOSError

_log = logging.getLogger(__name__)


def failure_of(error: BaseException, library: Any) -> LLMasOSError:
    """The request was refused, or it failed alone, or, for anything unknown, the engine did."""
    if isinstance(error, LLMasOSError):
        return error
    text = " ".join(str(error).split())
    if isinstance(error, ValueError):
        return InvalidRequestError(f"TensorRT-LLM refuses the request: {text}")
    if isinstance(error, library.llmapi.RequestError):
        return LLMasOSError(f"TensorRT-LLM fails the request: {text}")
    _log.critical("TensorRT-LLM has stopped", exc_info=error)
    return EngineStoppedError(f"the engine has stopped: {type(error).__name__}: {text}")
