"""LLMasOS: LLM inference as a Triton model repository.

Importing this package loads neither a compiler nor a server: each public name
is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmasos_app.async_llm import AsyncLLM as AsyncLLM
    from llmasos_app.llm import LLM as LLM

    from llmasos.engine.plan import EnginePlan as EnginePlan
    from llmasos.errors import LLMasOSError as LLMasOSError
    from llmasos.guide import Guide as Guide
    from llmasos.outputs import FinishReason as FinishReason
    from llmasos.outputs import Generation as Generation
    from llmasos.outputs import StreamPiece as StreamPiece
    from llmasos.outputs import TokenLogprob as TokenLogprob
    from llmasos.outputs import Usage as Usage
    from llmasos.sampling import SamplingParams as SamplingParams
    from llmasos.triton.async_triton_client import AsyncTritonClient as AsyncTritonClient
    from llmasos.triton.triton_client import TritonClient as TritonClient

from llmasos.version import __version__ as __version__

_HOME = {
    "LLM": "llmasos_app.llm",
    "AsyncLLM": "llmasos_app.async_llm",
    "AsyncTritonClient": "llmasos.triton.async_triton_client",
    "EnginePlan": "llmasos.engine.plan",
    "FinishReason": "llmasos.outputs",
    "Generation": "llmasos.outputs",
    "Guide": "llmasos.guide",
    "LLMasOSError": "llmasos.errors",
    "SamplingParams": "llmasos.sampling",
    "StreamPiece": "llmasos.outputs",
    "TokenLogprob": "llmasos.outputs",
    "TritonClient": "llmasos.triton.triton_client",
    "Usage": "llmasos.outputs",
}

__all__ = [
    "LLM",
    "AsyncLLM",
    "AsyncTritonClient",
    "EnginePlan",
    "FinishReason",
    "Generation",
    "Guide",
    "LLMasOSError",
    "SamplingParams",
    "StreamPiece",
    "TokenLogprob",
    "TritonClient",
    "Usage",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'llmasos' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
