"""Where tritonserver is: on PATH, as in NVIDIA's container, or in the package nvidia-pytriton.

The package holds the server, its Python backend and one stub for each version of Python.
The server wants the stub beside the backend, so a directory of links is made for each run.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

from llmasos.errors import ServerError

from llmasos_runtime.triton.links import link_libraries, link_python

_STUB = "triton_python_backend_stub"
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """executable: tritonserver. arguments: what it needs to find its parts.

    environment: what the server and its Python processes need to run in this environment.
    """

    executable: Path
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


def find_installation(run_dir: Path) -> Installation:
    """The server of this machine; raises ServerError when there is none that can run.

    run_dir: an empty directory, as long-lived as the server.
    """
    on_path = shutil.which("tritonserver")
    if on_path is not None:
        return Installation(
            executable=Path(on_path),
            arguments=(),
            environment={"PATH": _path(run_dir)},
        )
    return _embedded(run_dir)


def _embedded(run_dir: Path) -> Installation:
    root = _package_root()
    server = root / "pytriton" / "tritonserver"
    stub = server / "python_backend_stubs" / _PYTHON / _STUB
    if not stub.is_file():
        raise ServerError(f"nvidia-pytriton has no Python backend for Python {_PYTHON}")
    libraries = link_libraries([root / "nvidia_pytriton.libs", *_libpython_dirs()], run_dir)
    inherited = os.environ.get("LD_LIBRARY_PATH")
    if inherited:
        libraries.append(inherited)
    backends = run_dir / "backends"
    _link_backend(server / "backends" / "python", stub, backends / "python")
    environment = {"PATH": _path(run_dir), "LD_LIBRARY_PATH": ":".join(libraries)}
    _check_stub(stub, environment)
    return Installation(
        executable=server / "bin" / "tritonserver",
        arguments=(f"--backend-directory={backends}",),
        environment=environment,
    )


def _package_root() -> Path:
    # Found without importing it: the package sets up logging and more when imported.
    found = importlib.util.find_spec("pytriton")
    if found is None or found.origin is None:
        raise ServerError(
            "there is no tritonserver on PATH and the package nvidia-pytriton is not installed",
            hint="pip install nvidia-pytriton==0.7.0",
        )
    return Path(found.origin).parents[1]


def _libpython_dirs() -> list[Path]:
    """Where libpython lies, if the loader would not find the right one by itself."""
    name = f"libpython{_PYTHON}.so.1.0"
    own = sysconfig.get_config_var("LIBDIR")
    if own and (Path(own) / name).is_file():
        return [Path(own)]
    if find_library(f"python{_PYTHON}") is None:
        raise ServerError(
            f"{name} is missing, which Triton's Python backend needs",
            hint=f"on Debian and Ubuntu: apt-get install libpython{_PYTHON}",
        )
    return []


def _link_backend(backend: Path, stub: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for file in backend.iterdir():
        if file.is_file():
            (target / file.name).symlink_to(file)
    (target / _STUB).symlink_to(stub)


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


def _path(run_dir: Path) -> str:
    """PATH with our own Python first.

    The stub ignores PYTHONPATH and PYTHONHOME; it takes the standard library and the packages
    of the `python3` that it finds on PATH, with those of editable installs.
    """
    return f"{link_python(run_dir)}:{os.environ.get('PATH', os.defpath)}"
