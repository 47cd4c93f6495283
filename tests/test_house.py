"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("client/llmasos", "builder/llmasos_builder", "runtime/llmasos_runtime")
MAX_LINES = 250
MAX_BODY_LINES = 40
ADAPTER_LINES = 100


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=relative)
def test_a_module_is_one_noun_that_says_its_idea(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= MAX_LINES
    assert ast.get_docstring(ast.parse(source)), "a module's docstring says the idea"


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=relative)
def test_a_function_fits_one_screen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.body[0].lineno < MAX_BODY_LINES, node.name


@pytest.mark.parametrize(
    ("package", "others"),
    [
        ("builder/llmasos_builder", ("llmasos_runtime",)),
        ("runtime/llmasos_runtime", ("llmasos_builder",)),
    ],
)
def test_builder_and_runtime_meet_only_in_the_plan(package: str, others: tuple[str, ...]) -> None:
    found = {
        (relative(path), name)
        for path in modules(package)
        for name in imports(path)
        if name.split(".")[0] in others
    }
    assert not found


def test_no_product_module_imports_torch() -> None:
    banned = {"torch", "transformers", "pickle"}
    found = {
        (relative(path), name)
        for path in modules(*PACKAGES, "model_repository")
        for name in imports(path)
        if name.split(".")[0] in banned
    }
    assert not found


@pytest.mark.parametrize("path", modules("model_repository"), ids=relative)
def test_a_triton_adapter_is_thin(path: Path) -> None:
    assert len(path.read_text().splitlines()) < ADAPTER_LINES
