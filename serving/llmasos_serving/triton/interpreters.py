"""An older Python on this machine, where this one is too new for the embedded server.

The embedded server's Python backend is compiled against numpy 1, which no Python after 3.12
has. Looked for are those on PATH, and those that pyenv, uv, mise and asdf keep.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

from llmasos.errors import ServerError

from llmasos_serving.triton.python_facts import PythonFacts, facts_of, this_python

VARIABLE = "LLMASOS_SERVER_PYTHON"
"""The environment variable that names the interpreter to use."""
VERSIONS = ("3.12", "3.11", "3.10")
_WANTED = "Python 3.12, 3.11 or 3.10"
_CONTAINER = "or use NVIDIA's container nvcr.io/nvidia/tritonserver, which has a server of its own"


def find_interpreter() -> PythonFacts:
    """The newest one that the embedded server runs with; raises ServerError in one line."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return _chosen(chosen)
    first_defect: ServerError | None = None
    for interpreter in _candidates():
        facts = facts_of(interpreter)
        if facts is None or facts.version not in VERSIONS:
            continue
        defect = _defect(facts)
        if defect is None:
            return facts
        first_defect = first_defect or defect
    raise first_defect or ServerError(
        f"the embedded Triton server needs {_WANTED} for its processes, and there is none "
        f"beside this Python {this_python().version}",
        hint=f"{_how_to_install()}, {_CONTAINER}",
    )


def _chosen(name: str) -> PythonFacts:
    facts = facts_of(name)
    if facts is None or facts.version not in VERSIONS:
        found = "is no Python that runs" if facts is None else f"is Python {facts.version}"
        raise ServerError(
            f"{VARIABLE} names {name}, which {found}; the embedded Triton server needs {_WANTED}"
        )
    defect = _defect(facts)
    if defect is not None:
        raise defect
    return facts


def _defect(facts: PythonFacts) -> ServerError | None:
    """What it lacks, with the command that installs it."""
    name = f"{facts.executable} (Python {facts.version})"
    if facts.implementation != "cpython":
        return ServerError(f"{name} is {facts.implementation}; the Triton server needs CPython")
    if not facts.has_venv:
        return ServerError(
            f"{name} has no venv module, which the Triton server's environment is made with",
            hint=f"sudo apt install python{facts.version}-venv",
        )
    if facts.libpython_dirs() is None:
        return missing_libpython(facts.version)
    return None


def missing_libpython(version: str) -> ServerError:
    """The error for a Python without its shared library."""
    return ServerError(
        f"libpython{version}.so.1.0 is missing, which Triton's Python backend needs",
        hint=f"on Debian and Ubuntu: apt-get install libpython{version}",
    )


def _candidates() -> Generator[Path]:
    """Interpreters by their names, the newest version first and each once."""
    seen: set[Path] = set()
    for version in VERSIONS:
        for path in _named(version):
            resolved = path.resolve()
            if resolved not in seen:
                seen.add(resolved)
                yield path


def _named(version: str) -> Generator[Path]:
    for directory in os.get_exec_path():
        path = Path(directory, f"python{version}")
        if os.access(path, os.X_OK):
            yield path
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    places = (
        Path(os.environ.get("PYENV_ROOT") or home / ".pyenv") / "versions",
        Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python"),
        Path(os.environ.get("MISE_DATA_DIR") or data / "mise") / "installs" / "python",
        Path(os.environ.get("ASDF_DATA_DIR") or home / ".asdf") / "installs" / "python",
    )
    for place in places:
        found = list(place.glob(f"*/bin/python{version}"))
        yield from sorted(found, key=_numbers, reverse=True)


def _numbers(path: Path) -> list[int]:
    """3.12.10 is newer than 3.12.9."""
    return [int(number) for number in re.findall(r"\d+", path.parents[1].name)]


def _how_to_install() -> str:
    packages = _packages_of_apt()
    for version in VERSIONS:
        if f"python{version}" in packages:
            return f"sudo apt install python{version}-venv libpython{version}"
    if shutil.which("dnf"):  # Fedora keeps the older ones
        return "sudo dnf install python3.12 python3.12-libs"
    if shutil.which("uv"):
        return "uv python install 3.12"
    python = shlex.quote(sys.executable)  # a distribution's own takes no packages
    return f"{python} -m pip install uv && {python} -m uv python install 3.12"


def _packages_of_apt() -> set[str]:
    """Those of the older Pythons that this distribution has."""
    names = [f"python{version}" for version in VERSIONS]
    try:
        said = subprocess.run(
            ["apt-cache", "show", *names], capture_output=True, text=True, check=False
        )
    except OSError:
        return set()  # another distribution
    return set(re.findall(r"^Package: (\S+)$", said.stdout, re.MULTILINE))
