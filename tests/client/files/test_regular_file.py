"""Only regular files are read, and every way in which one cannot be is one line."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from llmasos.engine.plan import PLAN_FILE, EnginePlan
from llmasos.engine.plan_files import check_files, record_file
from llmasos.errors import CheckpointError, PlanError
from llmasos.files.regular_file import is_there, open_regular, read_regular


def _socket(path: Path) -> None:
    os.chdir(path.parent)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path.name)


def _link_to_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: None, "does not exist"),
    "pipe": (os.mkfifo, "is a named pipe, only regular files are read"),
    "directory": (os.mkdir, "is a directory, only regular files are read"),
    "socket": (_socket, "is a socket, only regular files are read"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a character device, only regular"),
    "dangling": (lambda path: path.symlink_to("nowhere"), "is a link that leads nowhere"),
    "loop": (lambda path: path.symlink_to(path.name), "cannot be read: Too many levels"),
    "link to a pipe": (_link_to_pipe, "is a named pipe"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_is_refused_by_its_kind(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, message = KINDS[kind]
    make(tmp_path / "file")
    with pytest.raises(CheckpointError) as caught:
        read_regular(tmp_path / "file", at_most=10)
    assert f"{tmp_path / 'file'} {message}" in str(caught.value)
    assert is_there(tmp_path / "file") == (kind != "nothing")


def test_a_link_to_a_regular_file_outside_is_followed(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "a").write_bytes(b"content")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "file").symlink_to("../blobs/a")
    assert read_regular(tmp_path / "snapshot" / "file", at_most=7) == b"content"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("n" * 5000, "cannot be read: File name too long"),
        ("a\0b", "embedded null"),
        ("half \ud800", "cannot be read: 'utf-8' codec can't encode"),
        ("file/below", "cannot be read: Not a directory"),
    ],
)
def test_a_name_that_no_file_can_have_is_refused_in_one_line(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError) as caught:
        read_regular(tmp_path / name, at_most=10)
    text = str(caught.value)
    assert message in text
    assert text.isprintable() and len(text) < 4100
    text.encode()


def test_what_the_system_says_is_not_there_is_not_there(tmp_path: Path) -> None:
    assert not is_there(tmp_path / "none")
    with pytest.raises(PlanError, match="File name too long"):
        is_there(tmp_path / ("n" * 5000), error=PlanError)


def test_a_file_is_read_up_to_its_bound_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert read_regular(path, at_most=10) == b"0123456789"
    with pytest.raises(CheckpointError, match="has 10 bytes, at most 9 are read"):
        read_regular(path, at_most=9)
    os.truncate(path, 60 << 30)  # of which nothing lies on the disk
    with pytest.raises(CheckpointError, match=f"has {60 << 30} bytes, at most 10 are read"):
        read_regular(path, at_most=10)


def test_a_file_that_says_nothing_of_its_size_is_bounded_while_it_is_read() -> None:
    memory = Path("/proc/self/maps")  # a regular file of 0 bytes, which has thousands
    assert memory.stat().st_size == 0
    with pytest.raises(CheckpointError, match="has 101 bytes, at most 100 are read"):
        read_regular(memory, at_most=100)


def test_a_file_that_fails_while_it_is_read_is_refused() -> None:
    with pytest.raises(CheckpointError, match="mem cannot be read: Input/output error"):
        read_regular(Path("/proc/self/mem"), at_most=100)


def test_what_happens_besides_while_a_file_is_open_is_no_matter_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyError), open_regular(tmp_path / "file"):
        raise KeyError


def test_a_file_of_a_plan_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    files = {"tokenizer.json": record_file(tmp_path / "tokenizer.json")}
    check_files(tmp_path, files)
    (tmp_path / "tokenizer.json").unlink()
    os.mkfifo(tmp_path / "tokenizer.json")
    with pytest.raises(PlanError, match=r"tokenizer\.json is a named pipe, only regular files"):
        check_files(tmp_path, files)


def test_a_plan_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / PLAN_FILE)
    with pytest.raises(PlanError, match="is a named pipe, only regular files are read"):
        EnginePlan.load(tmp_path)
    (tmp_path / PLAN_FILE).unlink()
    (tmp_path / PLAN_FILE).write_bytes(b" " * (17 << 20))
    with pytest.raises(PlanError, match=f"has {17 << 20} bytes, at most {16 << 20} are read"):
        EnginePlan.load(tmp_path)
