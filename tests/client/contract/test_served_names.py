"""Names of served models and of their parts."""

from __future__ import annotations

import pytest
from llmasos.contract.served_names import checked_name, is_engine, name_from, part_name, sibling
from llmasos.errors import InvalidRequestError


def test_parts_are_named_after_the_model_and_find_each_other() -> None:
    engine = part_name("qwen-2.5", "engine")
    assert engine == "qwen-2.5.engine"
    assert sibling(engine, "detokenizer") == "qwen-2.5.detokenizer"
    assert sibling("engine", "detokenizer") == "detokenizer"
    assert is_engine(engine)
    assert is_engine("engine")
    assert not is_engine("qwen-2.5.tokenizer")
    assert not is_engine("engine.1")


@pytest.mark.parametrize(
    "name", ["", ".hidden", "a b", "a/b", "ä", "x" * 65, "engine", "tensorrt_llm", "a.tokenizer"]
)
def test_a_name_that_triton_or_the_repository_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="served") as refused:
        checked_name(name)
    assert repr(name)[:60] in str(refused.value)


@pytest.mark.parametrize("text", ["SmolLM2-135M", "my model (v2)", "...", "模型", "a" * 200])
def test_a_checkpoints_name_becomes_one_that_is_allowed(text: str) -> None:
    assert checked_name(name_from(text))
    assert name_from("SmolLM2-135M") == "SmolLM2-135M"
    assert name_from("my model (v2)") == "my-model-v2"
