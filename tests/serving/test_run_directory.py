"""What a server leaves in shared memory is removed when it is dead, and never before."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from llmasos.errors import ServerError
from llmasos_serving.triton import process_guard, run_directory
from llmasos_serving.triton.run_directory import RunDirectory, remove_leftovers, tried_directory


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shared memory of the test's own."""
    monkeypatch.setattr(process_guard, "SHARED_MEMORY", tmp_path)
    return tmp_path


def with_a_region(run: RunDirectory) -> Path:
    region = run.path.with_name(f"{run.shm_prefix}0badcafe")
    region.touch()
    return region


def test_it_is_readable_by_its_user_alone() -> None:
    run = RunDirectory()
    run.close()
    assert run.path.stat().st_mode & 0o777 == 0o700


def test_what_a_dead_server_left_is_removed(memory: Path) -> None:
    run = RunDirectory()
    with_a_region(run)
    (run.path / "link").symlink_to(memory)
    run.close()
    remove_leftovers()
    assert not list(memory.iterdir())


def test_nothing_of_a_server_that_has_a_process_left_is_removed() -> None:
    """Whoever got the lock from the launcher holds it, though the launcher has let go of it."""
    run = RunDirectory()
    region = with_a_region(run)
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(run.lock,)
    ) as holder:
        run.close()
        remove_leftovers()
        assert not run.remove_if_free()
        assert region.exists()
        assert run.path.exists()
        holder.communicate(b"\n")
    assert run.remove_if_free()
    assert not region.exists()


def test_another_servers_regions_stay() -> None:
    dead, alive = RunDirectory(), RunDirectory()
    region = with_a_region(alive)
    dead.close()
    remove_leftovers()
    assert (dead.path.exists(), alive.path.exists(), region.exists()) == (False, True, True)
    alive.close()


def test_what_is_no_directory_of_ours_stays(
    memory: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "kept").touch()
    (memory / "llmasos-1-abcdefgh").symlink_to(elsewhere)
    (memory / "llmasos-1-abcdefgh-0badcafe").touch()
    (memory / "llmasos-99999999-0badcafe").touch()
    os.mkfifo(memory / "llmasos-2-abcdefgh")
    remove_leftovers()
    assert len(list(memory.iterdir())) == 4
    assert (elsewhere / "kept").exists()


def test_another_users_leftover_is_neither_removed_nor_an_error(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory()
    run.close()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    remove_leftovers()
    assert run.path.exists()


def test_a_directory_that_is_taken_for_a_leftover_is_made_anew(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making and locking it, another launcher may find it and remove it."""
    flock, num_calls = fcntl.flock, 0

    def flock_a_moment_later(lock: int, operation: int) -> None:
        nonlocal num_calls
        num_calls += 1
        if num_calls == 1:
            remove_leftovers()
        flock(lock, operation)

    monkeypatch.setattr(fcntl, "flock", flock_a_moment_later)
    run = RunDirectory()
    assert list(memory.iterdir()) == [run.path]
    run.close()


def test_a_directory_for_a_look_is_gone_after_it(memory: Path) -> None:
    with tried_directory() as path:
        assert path.is_dir()
    assert not list(memory.iterdir())


def test_missing_shared_memory_is_one_clear_line(memory: Path) -> None:
    memory.rmdir()
    with pytest.raises(ServerError, match="cannot be used: No such file or directory; in a cont"):
        RunDirectory()


def test_too_little_shared_memory_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_directory, "_MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(ServerError, match=rf"bytes are free, {1 << 60} are needed"):
        RunDirectory()


def test_a_tmp_that_cannot_be_written_is_one_clear_line(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.mkdtemp

    def make_elsewhere(*, prefix: str, dir: str | Path) -> str:  # noqa: A002 - tempfile's name
        if dir == "/tmp":
            raise OSError(errno.EROFS, "Read-only file system")
        return make(prefix=prefix, dir=dir)

    monkeypatch.setattr(tempfile, "mkdtemp", make_elsewhere)
    with pytest.raises(ServerError, match=r"/tmp cannot be written \(Read-only file system\)"):
        RunDirectory()
    assert not list(memory.iterdir())
