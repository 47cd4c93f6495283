"""What is built appears whole or not at all, and what is not ours is never touched."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from llmasos.errors import PlanError
from llmasos_builder.atomic_directory import atomic_directory

BUILD_SLOWLY = """
import sys, time
from pathlib import Path
from llmasos_builder.atomic_directory import atomic_directory
with atomic_directory(Path(sys.argv[1]), may_replace=lambda path: True) as directory:
    (directory / "half").write_text("done")
    print("half done", flush=True)
    time.sleep(60)
"""


def ours(path: Path) -> bool:
    return (path / "mark").exists()


def write(output: Path, content: str = "new") -> None:
    with atomic_directory(output, may_replace=ours) as directory:
        (directory / "mark").write_text(content)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_it_appears_at_the_end_with_nothing_beside_it(tmp_path: Path) -> None:
    output = tmp_path / "a" / "b"
    with atomic_directory(output, may_replace=ours) as directory:
        (directory / "mark").write_text("x")
        assert not output.exists()
        assert directory.parent.parent == output.parent  # a rename within one file system
    assert names(output) == ["mark"]
    assert names(output.parent) == ["b"]


def test_its_permissions_are_those_of_any_new_directory(tmp_path: Path) -> None:
    write(tmp_path / "out")
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="midway"),
        atomic_directory(tmp_path / "out", may_replace=ours) as directory,
    ):
        (directory / "mark").write_text("x")
        raise RuntimeError("midway")
    assert names(tmp_path) == []


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    with (
        pytest.raises(RuntimeError),
        atomic_directory(tmp_path / "out", may_replace=ours),
    ):
        raise RuntimeError
    assert (tmp_path / "out" / "mark").read_text() == "old"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("before", ["nothing", "empty", "ours"])
def test_an_empty_one_and_one_of_ours_are_replaced(tmp_path: Path, before: str) -> None:
    output = tmp_path / "out"
    if before != "nothing":
        output.mkdir()
    if before == "ours":
        (output / "mark").write_text("old")
        (output / "other").write_text("old")
    write(output)
    assert names(output) == ["mark"]
    assert (output / "mark").read_text() == "new"
    assert names(tmp_path) == ["out"]


def test_a_directory_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(PlanError, match="not empty and was not written by LLMasOS"):
        write(tmp_path)
    assert names(tmp_path) == ["thesis.tex"]


def test_what_comes_into_the_way_meanwhile_is_kept(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with (
        pytest.raises(PlanError, match="not empty"),
        atomic_directory(output, may_replace=ours),
    ):
        output.mkdir()
        (output / "thesis.tex").write_text("years of work")
    assert names(output) == ["thesis.tex"]


@pytest.mark.parametrize("call", ["open", "flock"])
def test_a_build_that_another_took_for_abandoned_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Between its making and its lock."""
    module: Any = {"open": os, "flock": fcntl}[call]
    go_on = getattr(module, call)
    removed: list[Path] = []

    def remove_first(*arguments: Any, **fields: Any) -> Any:
        monkeypatch.setattr(module, call, go_on)
        removed.extend(tmp_path.iterdir())
        removed[0].rmdir()
        return go_on(*arguments, **fields)

    monkeypatch.setattr(module, call, remove_first)
    write(tmp_path / "out")
    assert len(removed) == 1
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "mark").read_text() == "new"


def test_a_file_and_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PlanError, match="file exists and is not a directory"):
        write(tmp_path / "file")
    write(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(PlanError, match="link is a symbolic link"):
        write(tmp_path / "link")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PlanError, match="cannot be written"):
        write(tmp_path / "file" / "out")


def test_a_killed_build_leaves_no_output_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", BUILD_SLOWLY, str(output)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        write(output)  # one that is still at work is left alone
        assert len(names(tmp_path)) == 2
        os.kill(process.pid, signal.SIGKILL)
    assert names(output) == ["mark"]
    write(output, "newer")
    assert names(tmp_path) == ["out"]


def test_a_path_too_long_for_the_files_in_it_is_refused_before_anything_is_made(
    tmp_path: Path,
) -> None:
    output = tmp_path.joinpath(*["d" * 200] * 18)
    with (
        pytest.raises(PlanError, match="bytes, at most 3500 leave room for the files in it"),
        atomic_directory(output, may_replace=lambda path: True),
    ):
        pass
    assert not list(tmp_path.iterdir())
