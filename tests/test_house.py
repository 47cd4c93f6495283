"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "client/llmasos",
    "builder/llmasos_builder",
    "runtime/llmasos_runtime",
    "serving/llmasos_serving",
    "app/llmasos_app",
)
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


def test_every_module_says_its_idea_in_a_docstring() -> None:
    silent = [p for p in modules(*PACKAGES) if not ast.get_docstring(ast.parse(p.read_text()))]
    assert not [relative(path) for path in silent]


def test_no_module_is_longer_than_a_reader_keeps_in_mind() -> None:
    lengths = {relative(p): len(p.read_text().splitlines()) for p in modules(*PACKAGES)}
    assert not {path: length for path, length in lengths.items() if length > MAX_LINES}


def test_every_function_fits_one_screen() -> None:
    long = {
        f"{relative(path)}:{node.lineno} {node.name}"
        for path in modules(*PACKAGES)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.body[0].lineno >= MAX_BODY_LINES
    }
    assert not long


def test_no_product_module_imports_torch() -> None:
    banned = {"torch", "transformers", "pickle"}
    found = {
        (relative(path), name)
        for path in modules(*PACKAGES, "model_repository")
        for name in imports(path)
        if name.split(".")[0] in banned
    }
    assert not found


def test_triton_adapters_are_thin() -> None:
    lengths = {relative(p): len(p.read_text().splitlines()) for p in modules("model_repository")}
    assert not {path: length for path, length in lengths.items() if length >= ADAPTER_LINES}
