"""`llmasos doctor` says which directories it can write to, and what to do where it cannot."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest
from llmasos_app import places as module
from llmasos_app.finding import Finding
from llmasos_app.places import places
from llmasos_serving.triton import process_guard, run_directory


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "MIN_FREE_BYTES", 1)
    place = tmp_path / "cache"
    monkeypatch.setenv("LLMASOS_CACHE", str(place))
    return place


def of(subject: str) -> Finding:
    (finding,) = (finding for finding in places() if finding.subject == subject)
    return finding


def test_places_that_can_be_written_are_named_with_their_room(cache: Path) -> None:
    before = set(process_guard.SHARED_MEMORY.iterdir())
    assert not any(finding.is_problem for finding in places())
    assert of("cache").text.startswith(f"{cache}, which is made when it is needed, ")
    cache.mkdir()
    assert of("cache").text.startswith(f"{cache}, ")
    assert of("cache").text.endswith(" free")
    assert of("shared memory").text.startswith("/dev/shm, ")
    assert list(cache.iterdir()) == []
    assert not [p for p in set(process_guard.SHARED_MEMORY.iterdir()) - before if is_ours(p)]


def is_ours(region: Path) -> bool:
    from os import getpid

    return region.name.startswith(f"llmasos-{getpid()}-")


def test_a_cache_that_is_a_file_is_a_problem(cache: Path) -> None:
    cache.touch()
    found = of("cache")
    assert found.is_problem
    assert found.text.endswith(
        "cannot be written: Not a directory; let LLMASOS_CACHE name a directory that can be written"
    )


def test_a_cache_that_cannot_be_made_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMASOS_CACHE", "/proc/cache")
    found = of("cache")
    assert found.is_problem
    assert found.text.startswith("/proc/cache: /proc cannot be written: ")


def test_a_cache_without_room_is_a_problem(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_FREE_BYTES", 1 << 60)
    found = of("cache")
    assert found.is_problem
    assert "free, which few engines fit into; let LLMASOS_CACHE name" in found.text


def test_a_cache_without_locks_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert "cannot be locked: No locks available; let LLMASOS_CACHE" in module._cache().text


def test_without_a_directory_for_temporary_files_there_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gettempdir() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.gettempdir", gettempdir)
    found = of("temporary files")
    assert found.is_problem
    assert "No usable temporary directory" in found.text
    assert "let TMPDIR name a directory" in found.text


def test_shared_memory_that_is_missing_or_small_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run_directory, "_MIN_FREE_BYTES", 1 << 60)
        found = of("shared memory")
        assert found.is_problem
        assert "bytes are free" in found.text
        assert "--shm-size" in found.text
    monkeypatch.setattr(process_guard, "SHARED_MEMORY", Path("/nonexistent"))
    found = of("shared memory")
    assert found.is_problem
    assert "cannot be used: No such file or directory" in found.text


def test_a_user_without_a_home_directory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    found = of("home")
    assert not found.is_problem
    assert found.text == "none; LLMASOS_CACHE says where the cache is"
