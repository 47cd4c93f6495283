"""Where tritonserver is: on PATH, as in NVIDIA's container, or in the package nvidia-pytriton.

The package holds the server, its Python backend and one stub for each version of Python.
The server wants the stub beside the backend, so a directory of links is made for each run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import llmasos
import llmasos_runtime
from llmasos.cache import server_environments_dir
from llmasos.engine.plan_lock import PlanHold
from llmasos.errors import ServerError

from llmasos_serving.triton.interpreters import find_interpreter, missing_libpython
from llmasos_serving.triton.links import link_libraries, link_python
from llmasos_serving.triton.python_facts import PythonFacts, this_python
from llmasos_serving.triton.run_directory import tried_directory
from llmasos_serving.triton.server_environment import SOURCE_VARIABLE, ready_python, server_python

_STUB = "triton_python_backend_stub"
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_LIBPYTHON = re.compile(rb"libpython(3\.\d+)\.so")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """executable: tritonserver. arguments: what it needs to find its parts.

    environment: what the server and its Python processes need to run in this environment.
    hold: keeps the Python environment of its processes in the cache while it exists.
    """

    executable: Path
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    hold: PlanHold | None = None


def find_installation(run_dir: Path) -> Installation:
    """The server of this machine; raises ServerError when there is none that can run.

    run_dir: an empty directory, as long-lived as the server.
    """
    on_path = server_on_path()
    if on_path is not None:
        return Installation(
            executable=on_path,
            arguments=(),
            environment={"PATH": _path(this_python(), run_dir)},
        )
    return _embedded(server_python(), run_dir)


def server_on_path() -> Path | None:
    """The tritonserver on PATH, unless its Python backend is for another Python than this."""
    found = shutil.which("tritonserver")
    if found is None:
        return None
    stub = Path(found).resolve().parents[1] / "backends" / "python" / _STUB
    if stub.is_file():
        versions = {match.decode() for match in _LIBPYTHON.findall(stub.read_bytes())}
        if versions and _PYTHON not in versions:
            return None
    return Path(found)


def prepare_server() -> None:
    """Have a server that can run; raises ServerError, in one line, when there can be none.

    Makes the environment of the embedded server's processes if there is none yet.
    """
    if server_on_path() is None:
        _Parts.of(server_python())


def describe_server() -> str:
    """Which server would be used, one line; raises ServerError as `prepare_server` does."""
    on_path = server_on_path()
    if on_path is not None:
        # NVIDIA's containers say so; the server itself has no option that tells.
        release = os.environ.get("TRITON_SERVER_VERSION")
        return f"{on_path}{f', {release}' if release else ''}"
    python = ready_python()
    if python is None:
        base = find_interpreter()
        return (
            f"the first `llmasos serve` installs it into {server_environments_dir()}, "
            f"for Python {base.version} ({base.executable})"
        )
    with tried_directory() as run_dir:
        text = f"{_embedded(python, run_dir).executable}, of nvidia-pytriton {python.pytriton}"
    return text if python.executable == sys.executable else f"{text}, for Python {python.version}"


def _embedded(python: PythonFacts, run_dir: Path) -> Installation:
    parts = _Parts.of(python)
    libraries = link_libraries(parts.library_dirs, run_dir)
    inherited = os.environ.get("LD_LIBRARY_PATH")
    if inherited:
        libraries.append(inherited)
    backends = run_dir / "backends"
    _link_backend(parts.backend, parts.stub, backends / "python")
    environment = {"PATH": _path(python, run_dir), "LD_LIBRARY_PATH": ":".join(libraries)}
    is_own = python.executable == sys.executable
    if not is_own:
        environment[SOURCE_VARIABLE] = str(_link_source(run_dir / "source"))
    _check_stub(parts.stub, environment)
    return Installation(
        executable=parts.executable,
        arguments=(f"--backend-directory={backends}",),
        environment=environment,
        hold=None if is_own else PlanHold(Path(python.prefix)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """Of the package nvidia-pytriton; library_dirs: where its libraries and libpython lie."""

    executable: Path
    backend: Path
    stub: Path
    library_dirs: tuple[Path, ...]

    @classmethod
    def of(cls, python: PythonFacts) -> _Parts:
        """What a Python has installed; raises ServerError for what is missing."""
        if python.pytriton_root is None:
            raise ServerError(
                "there is no tritonserver on PATH and the package nvidia-pytriton is not installed",
                hint="pip install nvidia-pytriton==0.7.0",
            )
        root = Path(python.pytriton_root)
        server = root / "pytriton" / "tritonserver"
        stub = server / "python_backend_stubs" / python.version / _STUB
        if not stub.is_file():
            raise ServerError(f"nvidia-pytriton has no Python backend for Python {python.version}")
        libpython_dirs = python.libpython_dirs()
        if libpython_dirs is None:
            raise missing_libpython(python.version)
        return cls(
            executable=server / "bin" / "tritonserver",
            backend=server / "backends" / "python",
            stub=stub,
            library_dirs=(root / "nvidia_pytriton.libs", *libpython_dirs),
        )


def _link_backend(backend: Path, stub: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for file in backend.iterdir():
        if file.is_file():
            (target / file.name).symlink_to(file)
    (target / _STUB).symlink_to(stub)


def _link_source(target: Path) -> Path:
    """What another Python imports of this one's packages: ours, and nothing beside them."""
    target.mkdir()
    for package in (llmasos, llmasos_runtime):
        (target / package.__name__).symlink_to(Path(str(package.__file__)).parent)
    return target


def _check_stub(stub: Path, environment: Mapping[str, str]) -> None:
    """Without arguments it ends with status 1; Triton waits for ever for one that cannot run."""
    if shutil.which("bash") is None:
        raise ServerError("there is no bash on PATH, by which Triton starts its Python processes")
    try:
        tried = subprocess.run(
            [stub], env={**os.environ, **environment}, capture_output=True, check=False
        )
    except OSError as error:
        raise ServerError(f"{stub} cannot be run ({error.strerror})") from error
    if tried.returncode != 1:
        said = tried.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = said[-1] if said else f"it ended with status {tried.returncode}"
        raise ServerError(f"Triton's Python backend cannot run here: {reason}")


def _path(python: PythonFacts, run_dir: Path) -> str:
    """PATH with this Python first.

    The stub ignores PYTHONPATH and PYTHONHOME; it takes the standard library and the packages
    of the `python3` that it finds on PATH, with those of editable installs.
    """
    return f"{link_python(python, run_dir)}:{os.environ.get('PATH', os.defpath)}"
