"""Markers say what a test needs: `-m "not parity"` and a run without torch leave out the same."""

from __future__ import annotations

import ast
from pathlib import Path

from markers import MARKED

TESTS = Path(__file__).parent
COMPARES = "needs_torch"
"""The module that leaves tests out where torch is not installed."""


def imported(body: list[ast.stmt]) -> set[str]:
    """Modules that these statements import, themselves and not in functions."""
    found = set()
    for statement in body:
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            found.add(statement.module)
    return found


def compares(path: Path) -> bool:
    """Whether the file needs torch as soon as it is read, itself or through tests/support."""
    modules = imported(ast.parse(path.read_bytes()).body)
    ours = [TESTS / "support" / f"{module}.py" for module in modules]
    return COMPARES in modules or any(compares(path) for path in ours if path.exists())


def comparing_tests(path: Path) -> set[str]:
    """Tests of the file whose function needs torch, or a fixture or function that they name."""
    functions = [n for n in ast.parse(path.read_bytes()).body if isinstance(n, ast.FunctionDef)]
    named = {
        f.name: {n.id for n in ast.walk(f) if isinstance(n, ast.Name)}
        | {a.arg for a in f.args.args}
        for f in functions
    }
    found: set[str] = {f.name for f in functions if COMPARES in imported(f.body)}
    while more := {name for name, uses in named.items() if uses & found} - found:
        found |= more
    return {name for name in found if name.startswith("test_")}


def marked_tests(path: Path) -> set[str]:
    functions = [n for n in ast.parse(path.read_bytes()).body if isinstance(n, ast.FunctionDef)]
    return {f.name for f in functions if "pytest.mark.parity" in map(ast.unparse, f.decorator_list)}


def test_a_file_with_a_marker_exists() -> None:
    assert not [path for paths in MARKED.values() for path in paths if not (TESTS / path).exists()]


def test_every_test_that_needs_torch_is_marked_parity_and_no_other() -> None:
    wrong = []
    for path in sorted(TESTS.rglob("test_*.py")):
        name = path.relative_to(TESTS).as_posix()
        if (name in MARKED["parity"]) != compares(path):
            wrong.append(name)
        elif name not in MARKED["parity"]:
            wrong += [f"{name}::{t}" for t in comparing_tests(path) ^ marked_tests(path)]
    assert not wrong
