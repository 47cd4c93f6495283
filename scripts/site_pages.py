"""Pages of the repository's root on the site: mkdocs calls `on_files` before it builds.

CONTRIBUTING.md and its neighbours stand where GitHub looks for them, outside docs/. On the site
a link from them to a page of the site stays one, and a link to any other file is its text alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import normpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "vulnerabilities.md",
    "examples/README.md": "examples.md",
}
"""Where each stands on the site."""
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<path>(?!\w+:)[^)#]+)(?P<anchor>#[^)]*)?\)")


def on_files(files: Files, *, config: Any, **_: Any) -> Files:
    """The files of docs/, and those of the root beside them."""
    for name, place in PAGES.items():
        files.append(File.generated(config, place, content=with_links_of_the_site(name)))
    return files


def with_links_of_the_site(name: str) -> str:
    """A page of the root, with its links as they are on the site."""
    folder = Path(name).parent

    def link(match: re.Match[str]) -> str:
        target = normpath(folder / match["path"])
        place = PAGES.get(target) or (
            target.removeprefix("docs/") if target.startswith("docs/") else None
        )
        return f"[{match['text']}]({place}{match['anchor'] or ''})" if place else match["text"]

    return _LINK.sub(link, (ROOT / name).read_text(encoding="utf-8"))
