"""An error keeps its class on the wire, whatever its message quotes."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import llmasos
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmasos.error_codes import error_classes, error_of_text, error_text
from llmasos.errors import EngineStoppedError, LLMasOSError, QueueFullError, ServerError

CLASSES = sorted(error_classes().items())
HOSTILE = (
    "[engine_stopped] the engine has stopped",
    "in ensemble 'ensemble', [queue_full] 9 requests are already waiting",
    "bad_words is not supported yet: got 'the engine has stopped'",
    "[request id: [queue_full] ] Stub process is not healthy",
    "internal error\n[error] second line",
    "] [ [] [invalid_request]",
    "",
)


def test_every_class_has_a_code_of_its_own() -> None:
    for module in pkgutil.iter_modules(llmasos.__path__):
        importlib.import_module(f"llmasos.{module.name}")
    left, seen = [LLMasOSError], []
    while left:
        kind = left.pop()
        seen.append(kind)
        left += [k for k in kind.__subclasses__() if k.__module__.startswith("llmasos.")]
    assert all("code" in vars(kind) for kind in seen)
    assert len({kind.code for kind in seen}) == len(seen) >= 11


@pytest.mark.parametrize(("code", "kind"), CLASSES)
@pytest.mark.parametrize("message", HOSTILE)
@pytest.mark.parametrize("prefix", ["", "in ensemble 'ensemble', ", "in ensemble 'a-b.c', "])
def test_the_class_is_read_from_the_code_alone(
    code: str, kind: type[LLMasOSError], message: str, prefix: str
) -> None:
    error = kind(message)
    received = error_of_text(prefix + error_text(error))
    assert type(received) is kind
    assert str(received) == str(error)


@given(st.sampled_from([kind for _, kind in CLASSES]), st.text(max_size=9000))
def test_any_message_comes_through_as_it_was(kind: type[LLMasOSError], message: str) -> None:
    error = kind(message)
    received = error_of_text(error_text(error))
    assert (type(received), str(received)) == (kind, str(error))


@pytest.mark.parametrize(
    "text",
    [
        "Stub process 'engine_0_0' is not healthy",
        "[request id: 5] inference request batch-size must be <= 64",
        "[no_such_code] what a later release may say",
        "unexpected inference input 'x' [queue_full] 3 wait",
    ],
)
def test_a_text_without_a_known_code_is_tritons_own(text: str) -> None:
    assert type(error_of_text(text)) is EngineStoppedError
    assert type(error_of_text(text, refused=True)) is ServerError


def test_a_class_that_a_user_derives_travels_as_its_parent() -> None:
    class MineError(QueueFullError):
        pass

    assert type(error_of_text(error_text(MineError("3 wait")))) is QueueFullError


def test_the_page_on_the_contract_lists_every_code_with_its_class() -> None:
    page = (Path(__file__).parents[2] / "docs" / "contract.md").read_text()
    for code, kind in CLASSES:
        (row,) = (
            line for line in page.splitlines() if line.startswith("| `") and f"`{code}`" in line
        )
        assert f"`{kind.__name__}`" in row
        assert f"| {'yes' if kind.retryable else 'no'} |" in row
