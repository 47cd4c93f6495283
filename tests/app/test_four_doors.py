"""LLM, TritonClient, AsyncLLM and AsyncTritonClient have the same methods, which do not drift."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from llmasos import LLM, AsyncLLM, AsyncTritonClient, TritonClient
from llmasos.encoding.async_encoder_model import AsyncEncoderModel
from llmasos.encoding.encoder_model import EncoderModel
from llmasos.generation.async_language_model import AsyncLanguageModel
from llmasos.generation.language_model import LanguageModel

METHODS = {
    *("generate_text", "generate", "stream", "chat", "stream_chat"),
    *("translate", "translate_all", "summarize", "summarize_all"),
}
OF_TEXTS = {"embed", "classify", "classify_tokens", "rerank", "fill_mask"}
OF_SERVERS = {"is_ready"}
DOORS: dict[type, tuple[type, set[str]]] = {
    LLM: (LanguageModel, {"plan", "generate_from_tokens"}),
    TritonClient: (LanguageModel, OF_SERVERS),
    AsyncLLM: (AsyncLanguageModel, {"plan", "load"}),
    AsyncTritonClient: (AsyncLanguageModel, OF_SERVERS),
}


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def parameters(function: Any) -> list[inspect.Parameter]:
    """In the order of the call, without self."""
    return [p for p in inspect.signature(function).parameters.values() if p.name != "self"]


def pairs() -> list[tuple[Any, Any]]:
    """Each method that waits and its twin for asyncio."""
    same = [(getattr(LanguageModel, n), getattr(AsyncLanguageModel, n)) for n in sorted(METHODS)]
    same += [(getattr(EncoderModel, n), getattr(AsyncEncoderModel, n)) for n in sorted(OF_TEXTS)]
    return [
        *same,
        (LanguageModel.close, AsyncLanguageModel.aclose),
        (TritonClient.is_ready, AsyncTritonClient.is_ready),
    ]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_a_door_writes_none_of_the_shared_methods_itself(door: type) -> None:
    face, own = DOORS[door]
    closes = "close" if face is LanguageModel else "aclose"
    texts = EncoderModel if face is LanguageModel else AsyncEncoderModel
    assert public(face) == METHODS | {closes}
    assert public(texts) == OF_TEXTS | {"encoding"}
    assert public(door) == public(face) | public(texts) | own
    assert not (public(face) | public(texts)) & vars(door).keys()


@pytest.mark.parametrize(("waits", "awaited"), pairs(), ids=lambda method: method.__qualname__)
def test_a_method_and_its_twin_for_asyncio_are_told_and_called_alike(
    waits: Any, awaited: Any
) -> None:
    assert parameters(waits) == parameters(awaited)
    returns = inspect.signature(waits).return_annotation
    twin = {"PieceStream": "AsyncPieceStream"}.get(returns, returns)
    assert inspect.signature(awaited).return_annotation == twin
    assert waits.__doc__ == awaited.__doc__
    assert inspect.iscoroutinefunction(awaited) == (twin != "AsyncPieceStream")


def test_both_engines_of_this_process_are_loaded_with_the_same_arguments() -> None:
    assert parameters(LLM) == parameters(AsyncLLM.load)


def test_both_clients_are_made_with_the_same_arguments_but_the_protocol() -> None:
    waits = [p for p in parameters(TritonClient) if p.name != "protocol"]
    assert waits == parameters(AsyncTritonClient)
