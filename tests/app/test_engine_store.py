"""The cache of built engines keeps to its size, and to what is in use."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from llmasos.byte_size import format_bytes, parse_bytes
from llmasos.cache import engines_dir
from llmasos.cache_lock import locked
from llmasos.contract import PLAN_IN_REPOSITORY
from llmasos.engine.plan import PLAN_FILE
from llmasos.engine.plan_lock import PlanHold
from llmasos.errors import InvalidRequestError, PlanError
from llmasos_app.cache.engine_store import (
    cached_engines,
    make_room,
    remove_engine,
    remove_leftovers,
)
from llmasos_app.cli.app import app
from llmasos_runtime.engine.engine import EngineOptions
from llmasos_runtime.load import load_engine
from typer.testing import CliRunner

HOLD = """
import sys
from pathlib import Path
from llmasos.engine.plan_lock import PlanHold
hold = PlanHold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMASOS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LLMASOS_CACHE_BYTES", raising=False)
    engines_dir().mkdir(parents=True)
    return engines_dir()


def write_engine(name: str, *, size: int = 1000, age_s: float = 0.0) -> Path:
    """An engine of this many bytes that was used so long ago."""
    plan_dir = engines_dir() / name / PLAN_IN_REPOSITORY
    plan_dir.mkdir(parents=True)
    (plan_dir / PLAN_FILE).write_text("{}")
    (plan_dir / "weights").write_bytes(b"w" * (size - 2))
    used = time.time() - age_s
    os.utime(plan_dir, (used, used))
    return engines_dir() / name


def names() -> list[str]:
    return [engine.name for engine in cached_engines()]


def run(*arguments: str) -> tuple[int, str, BaseException | None]:
    result = CliRunner().invoke(app, ["cache", *arguments])
    return result.exit_code, result.output, result.exception


@contextmanager
def held_by_another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path / PLAN_IN_REPOSITORY)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_what_was_unused_for_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for age_s, name in enumerate(("new", "middle", "old", "oldest")):
        write_engine(name, age_s=100.0 * age_s)
    monkeypatch.setenv("LLMASOS_CACHE_BYTES", "2500")
    removed = make_room(keep=engines_dir() / "new")
    assert [engine.name for engine in removed] == ["oldest", "old"]
    assert names() == ["new", "middle"]
    assert not [path for path in engines_dir().iterdir() if path.name not in ("new", "middle")]


def test_nothing_goes_while_all_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        write_engine(name)
    monkeypatch.setenv("LLMASOS_CACHE_BYTES", "2kB")
    assert make_room(keep=engines_dir() / "a") == []
    monkeypatch.delenv("LLMASOS_CACHE_BYTES")
    assert make_room(keep=engines_dir() / "a") == []


def test_what_is_wanted_now_stays_though_it_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    write_engine("wanted", age_s=1000.0)
    write_engine("other")
    monkeypatch.setenv("LLMASOS_CACHE_BYTES", "0")
    make_room(keep=engines_dir() / "wanted")
    assert names() == ["wanted"]


def test_an_engine_in_use_by_another_process_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    used = write_engine("used", age_s=500.0)
    write_engine("unused", age_s=10.0)
    monkeypatch.setenv("LLMASOS_CACHE_BYTES", "0")
    with held_by_another_process(used):
        os.utime(used / PLAN_IN_REPOSITORY, (0, 0))  # as if used long ago
        (engine,) = [e for e in cached_engines() if e.name == "used"]
        assert engine.in_use
        with pytest.raises(PlanError, match="used is in use; stop what runs or builds it first"):
            remove_engine(engine)
        make_room(keep=engines_dir() / "none")
        assert names() == ["used"]
    remove_engine(engine)  # its process died without letting go
    assert names() == []


def test_an_engine_that_is_being_built_is_not_removed() -> None:
    path = write_engine("built")
    (engine,) = cached_engines()
    with locked(path, wait=True), pytest.raises(PlanError, match="built is in use"):
        remove_engine(engine)
    remove_engine(engine)
    assert list(engines_dir().iterdir()) == []


def test_whoever_waits_for_a_place_that_is_removed_gets_it_for_itself() -> None:
    """The lock's file goes with an engine; two that waited must not both have the place."""
    path = engines_dir() / "place"
    inside, most = [0], [0]

    def enter() -> None:
        with locked(path, wait=True):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.01)
            (path.parent / f".{path.name}.lock").unlink()
            inside[0] -= 1

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_loading_notes_the_use_and_letting_go_frees() -> None:
    path = write_engine("engine", age_s=5000.0)
    hold = PlanHold(path / PLAN_IN_REPOSITORY)
    (engine,) = cached_engines()
    assert engine.in_use
    assert time.time() - engine.last_used < 60
    hold.release()
    assert not cached_engines()[0].in_use


def test_an_engine_holds_its_plan_until_it_is_closed(tiny_plan: Path) -> None:
    plan_dir = engines_dir() / "tiny" / PLAN_IN_REPOSITORY
    shutil.copytree(tiny_plan, plan_dir)
    engine = load_engine(plan_dir, EngineOptions(num_threads=1, kv_cache_bytes=2**23))
    (cached,) = cached_engines()
    with pytest.raises(PlanError, match="tiny is in use"):
        remove_engine(cached)
    engine.close()
    remove_engine(cached)
    assert names() == []


def test_a_plan_elsewhere_keeps_its_time(tmp_path: Path) -> None:
    os.utime(tmp_path, (1000, 1000))
    hold = PlanHold(tmp_path)
    assert tmp_path.stat().st_mtime == 1000
    hold.release()


def test_what_a_killed_process_left_is_removed_and_what_lives_is_not() -> None:
    dead, young = engines_dir() / ".x.building-1", engines_dir() / ".x.building-2"
    alive = engines_dir() / ".y.building-3"
    for path in (dead, young, alive):
        path.mkdir()
    for path in (dead, alive):
        os.utime(path, (0, 0))
    hold = PlanHold(alive)
    os.utime(alive, (0, 0))
    remove_leftovers()
    hold.release()
    assert sorted(p.name for p in engines_dir().iterdir()) == [young.name, alive.name]


def test_ls_shows_what_is_there() -> None:
    write_engine("one", size=1_500_000)
    code, output, _ = run("ls")
    assert code == 0
    assert "one" in output and "1.5 MB" in output and "20.0 GB" in output
    records = json.loads(run("ls", "--json")[1])
    assert [(r["name"], r["size_bytes"], r["in_use"]) for r in records] == [
        ("one", 1_500_000, False)
    ]
    assert records[0]["path"] == str(engines_dir() / "one")


def test_rm_removes_what_is_named_and_says_what_it_frees() -> None:
    for name in "abc":
        write_engine(name, size=2_000_000)
    assert run("rm", "a", "c") == (0, "removed a: 2.0 MB\nremoved c: 2.0 MB\n", None)
    assert names() == ["b"]


def test_ls_shows_whole_names_for_rm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    write_engine("smollm2-135m-instruct-int8-24bf6fe673470208")
    assert "smollm2-135m-instruct-int8-24bf6fe673470208" in run("ls")[1]


def test_rm_of_one_in_use_fails_and_removes_the_others() -> None:
    used = write_engine("used")
    write_engine("unused")
    hold = PlanHold(used / PLAN_IN_REPOSITORY)
    code, _, error = run("rm", "--all", "--yes")
    hold.release()
    assert code == 1 and "used is in use" in str(error)
    assert names() == ["used"]


def test_rm_older_than_counts_days_since_the_last_use() -> None:
    for days in (0.5, 2.5, 9.0):
        write_engine(f"{days}", age_s=days * 86400)
    assert run("rm", "--older-than", "2")[0] == 0
    assert names() == ["0.5"]


def test_rm_asks_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmasos_app.cli.cache._is_terminal", lambda: True)
    write_engine("one")
    assert CliRunner().invoke(app, ["cache", "rm", "one"], input="n\n").exit_code == 1
    assert names() == ["one"]
    assert CliRunner().invoke(app, ["cache", "rm", "one"], input="y\n").exit_code == 0
    assert names() == []


@pytest.mark.parametrize("arguments", [[], ["a", "--all"], ["--all", "--older-than", "1"]])
def test_rm_wants_to_know_just_one_thing(arguments: list[str]) -> None:
    error = run("rm", *arguments)[2]
    assert isinstance(error, InvalidRequestError)
    assert str(error) == "give either names, --all or --older-than"


def test_rm_of_an_unknown_name_removes_nothing() -> None:
    write_engine("a")
    error = run("rm", "a", "b")[2]
    assert str(error) == "the cache has no 'b': see `llmasos cache ls`"
    assert names() == ["a"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8 * 10**9),
        ("1.5 GiB", 3 * 2**29),
        ("12", 12),
        ("7 kb", 7000),
        ("0", 0),
        (str(2**53 + 1), 2**53 + 1),
        ("1" + "0" * 400, 10**400),
    ],
)
def test_bytes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text, name="memory") == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "8 GX", "1e9", "8GB8"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"memory must be a number of bytes .*, got '"):
        parse_bytes(text, name="memory")


def test_bytes_are_shown_in_a_unit_that_fits() -> None:
    assert [format_bytes(n) for n in (0, 999, 1500, 2_000_000_000, 3e12)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.0 GB",
        "3.0 TB",
    ]
