"""Every file and module that a page, a script or the Makefile names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("client", "builder", "runtime", "serving", "app")
FOLDERS = (*PACKAGES, "tests", "benchmarks", "docker", "docs", "examples", "scripts")
PATHS = re.compile(rf"(?<![\w./-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w|[\w/-]+\.py\b")
MODULES = re.compile(r"\bllmasos(?:_\w+)?(?:\.[a-z]\w*)+(?!\w*[/-])")
NOT_MODULES = {
    "llmasos.steps",  # a logger
}
MADE_BY_RUNNING = ("benchmarks/.envs", "benchmarks/work")
OF_OTHERS = ("modeling_bloom.py",)  # transformers'


def clone_files() -> list[str]:
    """Files of the clone, without what tools and runs leave in it."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    found += [*ROOT.iterdir(), *(ROOT / ".github").rglob("*")]
    names = [str(path.relative_to(ROOT)) for path in found if path.is_file()]
    return [name for name in names if "__pycache__" not in name]


def pages() -> list[Path]:
    """Those that speak of the present; the changelog names what is gone."""
    wanted = re.compile(
        r"(?!CHANGELOG)[A-Z]+\.md|docs/.*\.md|docker/.*|scripts/[^.]*|Makefile|\.github/.*"
    )
    return [ROOT / name for name in clone_files() if wanted.fullmatch(name)]


def test_every_path_on_a_page_is_there() -> None:
    files = clone_files()
    ends = {
        "/".join(parts[i:]) for f in files for parts in [f.split("/")] for i in range(len(parts))
    }
    folders = {"/".join(f.split("/")[:i]) for f in files for i in range(1, f.count("/") + 1)}
    missing = {
        (page.name, name)
        for page in pages()
        for name in PATHS.findall(page.read_text())
        if name not in ends | folders
        and not name.startswith(MADE_BY_RUNNING)
        and not name.endswith(OF_OTHERS)
    }
    assert not missing


def test_every_module_on_a_page_is_there() -> None:
    files = {f.split("/", 1)[1] for f in clone_files() if f.startswith(PACKAGES)}
    modules = {re.sub(r"(/__init__|/__main__)?\.py$", "", f).replace("/", ".") for f in files}
    missing = {
        (page.name, name)
        for page in pages()
        for name in MODULES.findall(page.read_text())
        if name not in modules | NOT_MODULES
    }
    assert not missing
