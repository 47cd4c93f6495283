"""Where the cache is when there is no home directory, or none that can be written."""

from __future__ import annotations

import logging
import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from llmasos import cache
from llmasos.cache import cache_dir, home_dir, make_directory
from llmasos.errors import PlanError
from llmasos.huggingface import prepare_huggingface

LLMASOS = str(Path(sys.executable).with_name("llmasos"))
STRANGER = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
"""Runs a command as a user whom nothing knows."""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache is when there is no other place; nothing is set, nobody is known."""

    def nobody(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr("pwd.getpwuid", nobody)
    for name in ("HOME", "LLMASOS_CACHE", "XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    cache._say_where.cache_clear()
    return temporary / f"llmasos-{os.getuid()}"


def test_without_a_home_directory_there_is_a_private_place_which_is_said_once(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert cache_dir() == place
    assert not place.exists(), "who only looks makes nothing"
    with caplog.at_level(logging.WARNING):
        for name in ("engines", "checkpoints"):
            make_directory(cache_dir() / name)
    assert place.stat().st_mode & 0o777 == 0o700
    assert [str(place) in message for message in caplog.messages] == [True]


@pytest.mark.parametrize("home", ["", "relative", "/nonexistent", "/proc/1/nothing"])
def test_a_home_directory_that_is_none_is_not_used(
    home: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", home)
    assert home_dir() is None
    assert cache_dir() == place


def test_a_home_directory_that_cannot_be_written_is_used_if_the_cache_is_there(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert cache_dir() == place
    usual = tmp_path / ".cache" / "llmasos"
    usual.mkdir(parents=True)
    assert cache_dir() == usual


def test_a_relative_xdg_cache_home_is_ignored(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dir() == place


def test_a_relative_llmasos_cache_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMASOS_CACHE", "mine")
    assert cache_dir() == tmp_path / "mine"


def open_to_all(place: Path) -> None:
    place.mkdir()
    place.chmod(0o755)


def link(place: Path) -> None:
    other = place.with_name("other")
    other.mkdir(mode=0o700)
    place.symlink_to(other)


@pytest.mark.parametrize("prepare", [open_to_all, link])
def test_a_place_that_others_could_write_is_not_used(
    prepare: Callable[[Path], None], place: Path
) -> None:
    prepare(place)
    with pytest.raises(PlanError, match=r"that you alone may use; let LLMASOS_CACHE name"):
        cache_dir()


def test_hugging_face_keeps_its_files_in_our_cache_where_there_is_no_home(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.environ", {**os.environ})
    prepare_huggingface()
    assert os.environ["HF_HOME"] == str(place / "huggingface")
    del os.environ["HF_HOME"]
    monkeypatch.setenv("HOME", str(tmp_path))
    prepare_huggingface()
    assert "HF_HOME" not in os.environ


def can_be_a_stranger() -> bool:
    try:
        return subprocess.run([*STRANGER, "true"], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_be_a_stranger(), reason="no user namespaces here")
@pytest.mark.parametrize("home", [None, "/nonexistent", "/proc"])
def test_a_user_whom_nothing_knows_gets_answers(
    home: str | None, tiny_llama: Path, tmp_path: Path
) -> None:
    temporary, working = tmp_path / "temporary", tmp_path / "working"
    working.mkdir()
    hidden = {"HOME", "LLMASOS_CACHE", "XDG_CACHE_HOME", "HF_HOME"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    environment = {**kept, "TMPDIR": str(temporary), "HF_HUB_OFFLINE": "1"}
    if home is not None:
        environment["HOME"] = home

    def llmasos(*arguments: str) -> tuple[int, str]:
        result = subprocess.run(
            [*STRANGER, LLMASOS, *arguments],
            cwd=working,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        return result.returncode, result.stderr

    status, said = llmasos("generate", "-m", str(tiny_llama), "--max-tokens", "2", "hi")
    assert status == 0, said
    assert said.count("there is no writable home directory") == 1
    assert (temporary / "llmasos-12345" / "engines").is_dir()
    status, said = llmasos("generate", "-m", "org/none", "hi")
    assert status == 1
    assert said.splitlines()[-1].startswith("error: org/none is neither a path nor in the hub's")
    assert llmasos("cache", "ls")[0] == 0
    assert list(working.iterdir()) == []
