"""Draw the packages and what imports what: a figure and a list, made from the code alone.

    python scripts/package_map.py [--check]

Writes docs/figures/packages.svg, and the list of folders in README.md between its markers.
`--check` writes nothing and fails where either is stale.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "llmasos_app": "app/llmasos_app",
    "llmasos_serving": "serving/llmasos_serving",
    "llmasos_runtime": "runtime/llmasos_runtime",
    "llmasos_builder": "builder/llmasos_builder",
    "llmasos": "client/llmasos",
}
"""From the roof to the ground. Builder and runtime stand beside each other."""
FIGURE = ROOT / "docs" / "figures" / "packages.svg"
README = ROOT / "README.md"
BEGIN, END = "<!-- packages: begin -->", "<!-- packages: end -->"
_WIDTH, _PAD, _ROOM, _LINE, _GAP = 1120, 16, 26, 22, 64
_LEVELS = (
    ("llmasos_app",),
    ("llmasos_serving",),
    ("llmasos_runtime", "llmasos_builder"),
    ("llmasos",),
)


def rooms(package: str) -> dict[str, list[Path]]:
    """Modules of each folder of a package, by the folder's path below it; "" is its root."""
    base = ROOT / PACKAGES[package]
    found: dict[str, list[Path]] = {}
    for path in sorted(base.rglob("*.py")):
        found.setdefault(str(path.parent.relative_to(base)).replace(".", ""), []).append(path)
    return found


def imported(path: Path) -> Iterator[str]:
    """Names of the packages of ours that a module imports from, once for each statement."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        yield from (top for name in names if (top := name.split(".")[0]) in PACKAGES)


def arrows() -> Counter[tuple[str, str]]:
    """How many import statements lead from one package to another."""
    return Counter(
        (package, other)
        for package in PACKAGES
        for paths in rooms(package).values()
        for path in paths
        for other in imported(path)
        if other != package
    )


def purpose(path: Path) -> str:
    """The first paragraph of a package's docstring."""
    text = ast.get_docstring(ast.parse((path / "__init__.py").read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def table() -> str:
    """One line for each folder: where it is, and what it is for."""
    lines = ["| folder | what it is for |", "|---|---|"]
    for package, base in PACKAGES.items():
        for room in sorted(rooms(package)):
            folder = f"{base}/{room}".rstrip("/")
            lines.append(f"| `{folder}/` | {purpose(ROOT / folder)} |")
    return "\n".join(lines)


def figure() -> str:
    """The packages as boxes with their folders, and arrows with the number of imports."""
    boxes = _boxes()
    height = max(y + h for _, y, _, h in boxes.values()) + _PAD
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#666"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
    ]
    parts += [_box(package, place) for package, place in boxes.items()]
    parts += _lines(boxes)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _boxes() -> dict[str, tuple[int, int, int, int]]:
    """x, y, width and height of each package."""
    boxes, y = {}, _PAD
    for level in _LEVELS:
        width = (_WIDTH - _PAD * (len(level) + 1)) // len(level)
        heights = [_height(package, width) for package in level]
        for index, package in enumerate(level):
            boxes[package] = (_PAD + index * (width + _PAD), y, width, max(heights))
        y += max(heights) + _GAP
    return boxes


def _placed(package: str, width: int) -> list[tuple[int, int, str]]:
    """x, y and label of each folder inside a box, in rows."""
    placed, x, y = [], _PAD, 34
    for room, paths in sorted(rooms(package).items()):
        if not room:
            continue
        label = f"{room} ({len(paths)})"
        length = 7 * len(label) + 14
        if x + length > width - _PAD:
            x, y = _PAD, y + _ROOM + 6
        placed.append((x, y, label))
        x += length + 8
    return placed


def _height(package: str, width: int) -> int:
    return max((y for _, y, _ in _placed(package, width)), default=12) + _ROOM + 12


def _box(package: str, place: tuple[int, int, int, int]) -> str:
    x, y, width, height = place
    count = sum(map(len, rooms(package).values()))
    parts = [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="#f6f8fa" '
        'stroke="#8c959f"/>',
        f'<text x="{x + _PAD}" y="{y + _LINE}" font-weight="600" font-size="14">'
        f"{PACKAGES[package]} ({count} modules)</text>",
    ]
    for left, top, label in _placed(package, width):
        length = 7 * len(label) + 14
        parts.append(
            f'<rect x="{x + left}" y="{y + top}" width="{length}" height="{_ROOM}" rx="4" '
            'fill="#fff" stroke="#d0d7de"/>'
            f'<text x="{x + left + 7}" y="{y + top + 17}">{escape(label)}</text>'
        )
    return "\n".join(parts)


def _lines(boxes: dict[str, tuple[int, int, int, int]]) -> list[str]:
    """An arrow in a column of its own for each pair of packages, dashed where it leads up."""
    order = list(PACKAGES)
    lines = []
    for index, ((here, there), count) in enumerate(sorted(arrows().items())):
        goes_up = order.index(there) < order.index(here)
        begin, end = boxes[here], boxes[there]
        left = max(begin[0], end[0]) + 60
        right = min(begin[0] + begin[2], end[0] + end[2]) - 60
        x = left + (index * 97) % max(right - left, 1)
        y1, y2 = (begin[1], end[1] + end[3]) if goes_up else (begin[1] + begin[3], end[1])
        dash = ' stroke-dasharray="4 3"' if goes_up else ""
        lines.append(
            f'<line x1="{x}" y1="{y1}" x2="{x}" y2="{y2}" stroke="#666"{dash} '
            f'marker-end="url(#tip)"/><text x="{x + 5}" y="{y1 + (-26 if goes_up else 18)}" '
            f'fill="#444">{count}{" (lazy)" if goes_up else ""}</text>'
        )
    return lines


def pages() -> dict[Path, str]:
    """What each file should hold."""
    readme = README.read_text(encoding="utf-8")
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return {FIGURE: figure(), README: f"{before}{BEGIN}\n{table()}\n{END}{after}"}


def main() -> int:
    """Write the files, or say which are stale."""
    wanted = pages()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is stale: python scripts/package_map.py\n")
        return bool(stale)
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
