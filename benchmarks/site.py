"""What `make docs` puts on the page on performance: the README's figures, and a chart of them.

mkdocs calls `on_page_markdown` for each page. The figures stand in the README alone, so that
the site shows what it shows. The chart is SVG, drawn here with a few rectangles.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
PAGE = "performance.md"
_TABLES = re.compile(
    r"<!-- benchmark table: begin -->\n(.*?)<!-- benchmark table: end -->", re.DOTALL
)
_FIGURE = re.compile(r"(?P<median>\d+)(?: \((?P<low>\d+)-(?P<high>\d+)\))?")
_WIDTH, _LABELS, _ROW, _TOP = 760, 250, 22, 26
_OWN, _OTHER = "#1f6f8b", "#9fb0ba"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page, with chart and tables in front of its first section."""
    if page.file.src_uri != PAGE:
        return markdown
    head, section, rest = markdown.partition("\n## ")
    found = tables(README.read_text(encoding="utf-8"))
    return f"{head}\n## The last results\n\n{chart(found)}\n\n{found}\n{section}{rest}"


def tables(readme: str) -> str:
    """The results in the README, as Markdown."""
    match = _TABLES.search(readme)
    assert match is not None, "the README has no benchmark table"
    return match[1]


def chart(results: str) -> str:
    """One group of bars for each number of streams, as long as the median of tokens/s."""
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in _first_table(results)]
    columns = [index for index, title in enumerate(rows[0]) if "stream" in title]
    groups = [_group(rows, column, place) for place, column in enumerate(columns)]
    height = len(columns) * _group_height(rows)
    box = f'viewBox="0 0 {_WIDTH} {height}" role="img" font-size="12" fill="currentColor"'
    title = "<title>Output tokens per second</title>"
    return f"<div><svg {box}>{title}{''.join(groups)}</svg></div>"


def _first_table(results: str) -> list[str]:
    """Its rows without the line of dashes."""
    table = next(part for part in results.split("\n\n") if part.startswith("|"))
    return [row for row in table.splitlines() if "---" not in row]


def _group(rows: list[list[str]], column: int, place: int) -> str:
    top = place * _group_height(rows)
    figures = [(row[0], match) for row in rows[1:] if (match := _FIGURE.match(row[column]))]
    longest = max(int(match["median"]) for _, match in figures)
    title = f"{rows[0][column]}, output tokens/s"
    lines = [f'<text x="{_LABELS}" y="{top + 16}" font-weight="bold">{escape(title)}</text>']
    for index, (label, match) in enumerate(figures):
        length = (_WIDTH - _LABELS - 60) * int(match["median"]) / longest
        lines.append(_bar(label, match["median"], length, top + _TOP + index * _ROW))
    return "".join(lines)


def _bar(label: str, median: str, length: float, y: int) -> str:
    colour = _OWN if label.startswith("LLMasOS") else _OTHER
    name = label.split(" (", maxsplit=1)[0]
    return (
        f'<text x="{_LABELS - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{_LABELS}" y="{y}" width="{length:.1f}" height="{_ROW - 5}" fill="{colour}"/>'
        f'<text x="{_LABELS + length + 6:.1f}" y="{y + 13}">{median}</text>'
    )


def _group_height(rows: list[list[str]]) -> int:
    return _TOP + _ROW * (len(rows) - 1) + 14
