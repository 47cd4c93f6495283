"""Links with safe names to what the user named, for a server that gives paths to a shell.

Triton's Python backend writes the paths of a model and of its stub into a line for bash, and
its Python processes can name ASCII paths alone. So the server sees the names of its private
directory: `repository/engine`, `python`, `libraries/0`, and never where they lead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from llmasos.contract.repository import CONFIG_FILE
from llmasos.errors import ServerError

from llmasos_serving.triton.python_facts import PythonFacts

_PLAIN_PATH = re.compile(r"[\w./+@%=-]*", re.ASCII)
_PLAIN_NAME = re.compile(r"\w[\w.-]*", re.ASCII)


def holds_model(directory: Path) -> bool:
    """Whether it is a model's directory; one that cannot be read, as lost+found, is none."""
    return os.path.isfile(directory / CONFIG_FILE)  # noqa: PTH113 - Path.is_file may raise


def link_repository(repository: Path, run_dir: Path, *, without: Collection[str] = ()) -> Path:
    """A directory that holds a link to each model of the repository, and nothing else.

    without: names of models that are left out.
    Raises ServerError for a model whose name a shell could read as something else.
    """
    target = run_dir / "repository"
    target.mkdir()
    for model in repository.iterdir():
        if model.name not in without and holds_model(model) and not model.name.startswith("."):
            if not _PLAIN_NAME.fullmatch(model.name):
                raise ServerError(
                    f"the repository has a model named {model.name!r}, which Triton cannot load",
                    hint="names of models are of letters, digits and underscores",
                )
            (target / model.name).symlink_to(model)
    return target


def link_libraries(directories: Iterable[Path], run_dir: Path) -> list[str]:
    """Links to directories, for a list of paths that a colon or a semicolon would split."""
    target = run_dir / "libraries"
    target.mkdir()
    links = [(target / str(number), path) for number, path in enumerate(directories)]
    for link, path in links:
        link.symlink_to(path)
    return [str(link) for link, _ in links]


def link_python(of: PythonFacts, run_dir: Path) -> Path:
    """The directory of a Python's `python3`, by a name that a Python process can read.

    An environment elsewhere is linked entry by entry, with a pyvenv.cfg of its own: the
    original names where the environment's Python is, in letters that it could not read.
    """
    prefix, base = Path(of.prefix), Path(of.base_prefix)
    if all(_PLAIN_PATH.fullmatch(path) for path in (of.prefix, of.base_prefix, of.executable)):
        return Path(of.executable).parent
    python, base_link = run_dir / "python", run_dir / "base"
    base_link.symlink_to(base)
    if prefix == base:
        return base_link / "bin"
    python.mkdir()
    config = prefix / "pyvenv.cfg"
    for entry in prefix.iterdir():
        if entry != config:
            (python / entry.name).symlink_to(entry)
    lines = config.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    kept = [line for line in lines if line.partition("=")[0].strip() in _KEPT_KEYS]
    (python / config.name).write_text("\n".join([f"home = {base_link / 'bin'}", *kept, ""]))
    return python / "bin"


_KEPT_KEYS = ("include-system-site-packages", "version", "version_info")
