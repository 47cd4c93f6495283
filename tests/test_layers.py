"""Imports lead down alone: app -> serving -> runtime and builder -> client."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "llmasos": "client/llmasos",
    "llmasos_builder": "builder/llmasos_builder",
    "llmasos_runtime": "runtime/llmasos_runtime",
    "llmasos_serving": "serving/llmasos_serving",
    "llmasos_app": "app/llmasos_app",
}
MAY_IMPORT = {
    "llmasos": set(),
    "llmasos_builder": {"llmasos"},
    "llmasos_runtime": {"llmasos"},
    "llmasos_serving": {"llmasos", "llmasos_runtime", "llmasos_builder"},
    "llmasos_app": {"llmasos", "llmasos_runtime", "llmasos_builder", "llmasos_serving"},
}
LAZY = {  # `from llmasos import LLM`, whose home is the roof
    ("client/llmasos/__init__.py", "llmasos_app.async_llm"),
    ("client/llmasos/__init__.py", "llmasos_app.llm"),
}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules() -> dict[str, Path]:
    """Every module of the product by its name; a package's is its __init__."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            named = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join([package, *named])] = path
    return found


def test_no_package_imports_one_above_it() -> None:
    offenders = {
        (str(path.relative_to(ROOT)), name)
        for module, path in modules().items()
        for name in imports(path)
        if (top := name.split(".")[0]) in PACKAGES
        and top != (package := module.split(".")[0])
        and top not in MAY_IMPORT[package]
    }
    known = {(file, f"{name}{rest}") for file, name in LAZY for rest in ("", ".LLM", ".AsyncLLM")}
    assert offenders <= known
    assert {(file, name) for file, name in offenders if name in {n for _, n in LAZY}} == LAZY


def test_model_repository_imports_the_runtime_and_the_client_alone() -> None:
    offenders = {
        (str(path.relative_to(ROOT)), name)
        for path in (ROOT / "model_repository").rglob("*.py")
        for name in imports(path)
        if name.split(".")[0] in PACKAGES.keys() - {"llmasos", "llmasos_runtime"}
    }
    assert not offenders


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    edges = {
        module: {target for name in imports(path) if (target := name) in known and target != module}
        for module, path in known.items()
    }
    for package in PACKAGES:
        edges[package] = set()  # its names are imported when they are used
    assert not circles(edges)


def test_no_rooms_of_a_folder_import_each_other_in_a_circle() -> None:
    """The rooms of a folder are its modules and its subfolders, each subfolder taken whole."""
    found = {
        (folder, tuple(sorted(circle)))
        for folder, edges in rooms().items()
        for circle in circles(edges)
    }
    assert not found


def rooms() -> dict[str, dict[str, set[str]]]:
    """By folder: each of its rooms, and the rooms of that folder that it imports."""
    known = modules()
    found: dict[str, dict[str, set[str]]] = {}
    for module in known.keys() - PACKAGES.keys():
        for name in set(imports(known[module])) & known.keys() - PACKAGES.keys() - {module}:
            here, there = place(module, known[module]), place(name, known[name])
            same = (a == b for a, b in zip(here, there, strict=False))
            depth = next(depth for depth, is_same in enumerate(same) if not is_same)
            if depth == 0:
                continue  # of another package, which has a test of its own
            edges = found.setdefault(".".join(here[:depth]), {})
            edges.setdefault(here[depth], set()).add(there[depth])
            edges.setdefault(there[depth], set())
    return found


def place(module: str, path: Path) -> list[str]:
    """The rooms in which a module lies, from its package down to itself."""
    return [*module.split("."), *(["__init__"] if path.stem == "__init__" else [])]


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules that reach each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = set(stack[stack.index(node) :])
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(group)

    for node in edges:
        if node not in index:
            visit(node)
    return found


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]


def test_the_figure_and_the_list_of_packages_are_those_of_the_code() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "package_map.py"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
