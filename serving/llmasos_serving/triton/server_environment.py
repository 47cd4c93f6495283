"""The Python environment of the server's processes, where this one cannot be it.

With Python 3.13 or numpy 2 it is another one in the cache: made once, by pip and an older
Python, with what this release of LLMasOS needs and the embedded server. The server's
processes import llmasos itself from where this process has it. Deleting it is safe.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from llmasos import __version__
from llmasos.cache import server_environments_dir
from llmasos.cache_lock import locked
from llmasos.engine.plan_lock import exclusive
from llmasos.errors import ServerError
from llmasos.progress import Progress, show_progress

from llmasos_serving.triton.interpreters import find_interpreter
from llmasos_serving.triton.python_facts import PythonFacts, facts_of, this_python

SOURCE_VARIABLE = "LLMASOS_SERVER_SOURCE"
"""Names the directory that the environment's Python imports llmasos from."""
_IMPORT_SOURCE = (
    f"import os, sys; sys.path[:0] = filter(None, [os.environ.get('{SOURCE_VARIABLE}')])\n"
)
_BYTES = 950_000_000
_POLL_S = 0.5
_RUNTIME_EXTRAS = re.compile(r"extra == '(native|tensorrt|tensorrt-rtx|tensorrt-llm)'")


def server_python() -> PythonFacts:
    """The Python that the embedded server runs with, in an environment that is made if need be.

    Raises ServerError when there is no suitable Python, or the environment cannot be made.
    """
    found = ready_python()
    if found is not None:
        return found
    base = find_interpreter()
    path = _place(base)
    with locked(path, wait=True):  # others that want the same one wait for it
        facts = facts_of(_python_in(path))
        if facts is None or not _serves(facts):
            shutil.rmtree(path, ignore_errors=True)  # its base Python has been removed
            with show_progress() as progress:
                _make(path, base, progress)
    facts = facts_of(_python_in(path))
    if facts is None:
        raise ServerError(f"{path} was removed meanwhile", hint="try again")
    return facts


def ready_python() -> PythonFacts | None:
    """This one where the embedded server runs with it, else that of an environment made before."""
    own = this_python()
    if _serves(own):
        return own
    for path in sorted(server_environments_dir().glob(f"{__version__}-py*-{_digest()}")):
        facts = facts_of(_python_in(path))  # None: its base Python has been removed
        if facts is not None and _serves(facts):
            with suppress(OSError):  # another's, in a cache that is shared
                os.utime(path)  # used now
            return facts
    return None


def _python_in(environment: Path) -> Path:
    return environment / "bin" / "python3"


def _serves(python: PythonFacts) -> bool:
    return python.pytriton is not None and (python.numpy or "").startswith("1.")


def _place(base: PythonFacts) -> Path:
    return server_environments_dir() / f"{__version__}-py{base.version}-{_digest()}"


def _digest() -> str:
    return hashlib.sha256("\n".join(requirements()).encode()).hexdigest()[:12]


def requirements() -> list[str]:
    """What pip installs: what llmasos declares, and what runs engines as this Python has it.

    pip reads the conditions for the older Python, for which they hold the embedded server.
    """
    try:
        declared = requires("llmasos") or []
    except PackageNotFoundError as error:
        raise ServerError("llmasos is not installed; its requirements are unknown") from error
    plain = [one for one in declared if "extra ==" not in one]
    extras = [one for one in declared if _RUNTIME_EXTRAS.search(one)]
    runtimes = {_distribution(one) for one in extras} | {"openvino"}
    pinned = [f"{name}=={found}" for name in runtimes if (found := _installed(name))]
    return sorted({*plain, *pinned})


def _distribution(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return found[0]


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _make(path: Path, base: PythonFacts, progress: Progress) -> None:
    with _staging(path) as staging:
        progress(f"make the server's environment with Python {base.version}", 0, 1)
        made = staging / "environment"
        _run([base.base_executable, "-I", "-m", "venv", str(made)], lambda: None)
        python = str(made / "bin" / "python3")
        pip = [python, "-I", "-m", "pip", "install", "--quiet", "--no-input"]
        pip.append("--disable-pip-version-check")
        stage = f"install the Triton server for Python {base.version} into {path.parent}, once"
        _run([*pip, *requirements()], lambda: progress(stage, _size(made), _BYTES))
        facts = facts_of(python)
        if facts is None or not _serves(facts):
            raise ServerError(f"pip found no Triton server for Python {base.version} here")
        Path(facts.site_packages, "llmasos_source.pth").write_text(_IMPORT_SOURCE)
        made.rename(path)


@contextmanager
def _staging(path: Path) -> Generator[Path]:
    """A directory beside `path` that is removed at the end, locked so that nobody else does."""
    try:
        staging = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.making-"))
    except OSError as error:
        raise ServerError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with exclusive(staging):
            yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _run(command: list[str], watch: Callable[[], None]) -> None:
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            while _is_running(process):
                watch()
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        said = log.read()
    if process.returncode:
        raise ServerError(
            f"the server's environment could not be made: {_last_error(said)}",
            hint="check the network, pip's configuration and the space in the cache's directory",
        )


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_POLL_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def _size(directory: Path) -> int:
    """Bytes in it so far; files may vanish while they are counted."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118
    return min(total, _BYTES)


def _last_error(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it said nothing"])[-1]
