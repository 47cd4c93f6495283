"""What a Python is and has, told by itself: by this process, or by any other interpreter.

It runs as a script without any package, in interpreters that have none of ours.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import sysconfig
from contextlib import suppress
from ctypes.util import find_library
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class PythonFacts:
    """An interpreter. version: major.minor. prefix, base_prefix, executable: as in `sys`.

    base_executable: the interpreter that a virtual environment was made from. site_packages:
    where pip installs. library_dir: where it was built to have libpython. has_venv: it makes
    virtual environments with pip. numpy, pytriton: the versions that are installed in it.
    pytriton_root: the directory that the package pytriton lies in.
    """

    version: str
    implementation: str
    executable: str
    prefix: str
    base_prefix: str
    base_executable: str
    site_packages: str
    library_dir: str
    has_venv: bool
    numpy: str | None
    pytriton: str | None
    pytriton_root: str | None

    def libpython_dirs(self) -> list[Path] | None:
        """Where libpython lies if the loader would not find the right one; None: nowhere."""
        name = f"libpython{self.version}.so.1.0"
        for directory in (self.library_dir, str(Path(self.base_prefix, "lib"))):
            if directory and Path(directory, name).is_file():
                return [Path(directory)]
        return None if find_library(f"python{self.version}") is None else []


def this_python() -> PythonFacts:
    """The one that runs this."""
    # Found without importing it: the package sets up logging and more when imported.
    pytriton = importlib.util.find_spec("pytriton")
    has_venv = importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")
    return PythonFacts(
        version=f"{sys.version_info[0]}.{sys.version_info[1]}",
        implementation=sys.implementation.name,
        executable=sys.executable,
        prefix=sys.prefix,
        base_prefix=sys.base_prefix,
        base_executable=getattr(sys, "_base_executable", sys.executable),
        site_packages=sysconfig.get_paths()["purelib"],
        library_dir=sysconfig.get_config_var("LIBDIR") or "",
        has_venv=bool(has_venv),
        numpy=_installed("numpy"),
        pytriton=_installed("nvidia-pytriton"),
        pytriton_root=str(Path(pytriton.origin).parents[1])
        if pytriton is not None and pytriton.origin is not None
        else None,
    )


def facts_of(interpreter: Path | str) -> PythonFacts | None:
    """What another interpreter says of itself; None if it does not run, or is too old to."""
    with suppress(OSError, subprocess.SubprocessError, ValueError, TypeError):
        said = subprocess.run(
            [str(interpreter), "-I", __file__],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=_TIMEOUT_S,
        )
        return PythonFacts(**json.loads(said.stdout))
    return None


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(this_python())))
