"""The pages are a site without a broken link, and what they quote is what the sources say."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

from benchmarks.site import chart, tables

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGES = (
    "client/llmasos",
    "builder/llmasos_builder",
    "runtime/llmasos_runtime",
    "serving/llmasos_serving",
    "app/llmasos_app",
)
QUOTED = re.compile(r"<!-- from: (\S+) -->\n```python\n(.*?)```", re.DOTALL)
MESSAGE = re.compile(r"^### `(.+)`$", re.MULTILINE)
CODE = re.compile(r"^```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_the_site_is_made_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    for page in DOCS.glob("*.md"):
        assert (tmp_path / page.with_suffix(".html").name).is_file(), page
    performance = (tmp_path / "performance.html").read_text()
    for median, _, _ in figures():
        assert f">{median}</text>" in performance


@pytest.mark.parametrize(
    "index", range(len(QUOTED.findall((DOCS / "add-an-architecture.md").read_text())))
)
def test_code_on_the_page_on_architectures_is_in_the_sources(index: int) -> None:
    path, code = QUOTED.findall((DOCS / "add-an-architecture.md").read_text())[index]
    assert code in (ROOT / path).read_text()


def test_all_python_on_that_page_is_quoted() -> None:
    page = (DOCS / "add-an-architecture.md").read_text()
    assert page.count("```python") == len(QUOTED.findall(page)) >= 10


def test_the_first_page_shows_what_the_readme_shows() -> None:
    """Whose programs and commands are run by its own test."""
    readme = (ROOT / "README.md").read_text()
    for code in CODE.findall((DOCS / "index.md").read_text()):
        for paragraph in code.split("\n\n"):
            assert paragraph.strip() in readme


def figures() -> list[tuple[str, str, str]]:
    """Median, low and high of every throughput in the README."""
    readme = (ROOT / "README.md").read_text()
    table = tables(readme).split("\n\n")[1]
    return re.findall(r"\| (\d+) \((\d+)-(\d+)\)", table)


def test_the_chart_has_a_bar_for_each_figure() -> None:
    drawn = chart(tables((ROOT / "README.md").read_text()))
    assert drawn.count("<rect") == len(figures()) >= 6
    medians = re.findall(r">(\d+)</text>", drawn)
    assert sorted(medians) == sorted(median for median, _, _ in figures())
    assert "\n\n" not in drawn  # Markdown would end it there


@lru_cache
def strings_of_the_product() -> frozenset[str]:
    """Every string, with … for each value in it."""
    found = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = (v.value if isinstance(v, ast.Constant) else "…" for v in node.values)
                    found.add("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return frozenset(found)


@pytest.mark.parametrize("message", MESSAGE.findall((DOCS / "troubleshooting.md").read_text()))
def test_a_message_on_the_page_on_troubles_is_one_of_the_product(message: str) -> None:
    written = re.escape(message).replace("…", ".*")
    assert any(re.fullmatch(written, text, re.DOTALL) for text in strings_of_the_product()), message
