"""A checkpoint is built once for each of its states and options; what is built is used as it is."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest
from llmasos.cache import cache_dir
from llmasos.contract import PLAN_IN_REPOSITORY, RepositorySettings, model_configs
from llmasos.engine.plan import PLAN_FILE, Precision
from llmasos.errors import CheckpointError, InvalidRequestError, PlanError
from llmasos_app.cache import engine_cache
from llmasos_app.cache.engine_cache import find_built, find_plan, find_repository


class Builder:
    """Stands for the builder: writes an empty manifest, slowly if asked, and counts."""

    def __init__(self, *, takes_s: float = 0.0) -> None:
        self.num_builds = 0
        self._takes_s = takes_s

    def __call__(
        self, model: Path | str, repository: Path, *, precision: Precision, revision: str | None
    ) -> None:
        self.num_builds += 1
        time.sleep(self._takes_s)
        write_repository(repository)


def write_repository(repository: Path) -> Path:
    plan_dir = repository / PLAN_IN_REPOSITORY
    plan_dir.mkdir(parents=True)
    (plan_dir / PLAN_FILE).write_text("{}")
    return repository


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Builder:
    monkeypatch.setenv("LLMASOS_CACHE", str(tmp_path / "cache"))
    return use(Builder(), monkeypatch)


def use(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> Builder:
    monkeypatch.setattr(engine_cache, "_build", builder)
    return builder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    directory = tmp_path / "my model"
    directory.mkdir()
    (directory / "model.safetensors").write_bytes(b"weights")
    return directory


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No hub, and its cache, which is empty."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_the_second_use_does_not_build(builder: Builder, checkpoint: Path) -> None:
    first = find_repository(checkpoint, precision="int8")
    assert find_repository(str(checkpoint), precision="int8") == first
    assert find_plan(checkpoint, precision="int8") == first / PLAN_IN_REPOSITORY
    assert builder.num_builds == 1
    assert first.parent == cache_dir() / "engines"
    assert first.name.startswith("my-model-int8-")


def test_another_precision_or_revision_is_another_engine(
    builder: Builder, checkpoint: Path, offline: Path
) -> None:
    engines = {
        find_repository(checkpoint, precision="int8"),
        find_repository(checkpoint, precision="f32"),
        find_repository("org/name", precision="int8"),
        find_repository("org/name", precision="int8", revision="v2"),
    }
    assert len(engines) == builder.num_builds == 4


def test_a_checkpoint_that_changed_is_built_again(builder: Builder, checkpoint: Path) -> None:
    find_repository(checkpoint, precision="int8")
    (checkpoint / "model.safetensors").write_bytes(b"Weights")
    find_repository(checkpoint, precision="int8")
    assert builder.num_builds == 2


def test_however_a_checkpoint_is_named_it_is_one_and_its_change_is_seen(
    builder: Builder, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    monkeypatch.chdir(checkpoint.parent)
    link = checkpoint.parent / "link"
    link.symlink_to(checkpoint)
    names = ("~/my model", "my model", "./my model/", str(checkpoint), "link")
    digests = {find_repository(name, precision="int8").name[-16:] for name in names}
    (checkpoint / "model.safetensors").write_bytes(b"Weights")
    changed = {find_repository(name, precision="int8").name[-16:] for name in names}
    assert len(digests) == len(changed) == 1
    assert digests != changed


def test_a_built_repository_may_be_named_from_the_home_directory(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    repository = write_repository(tmp_path / "repository")
    assert find_repository("~/repository", precision="int8") == repository
    assert builder.num_builds == 0


def test_a_branch_that_moved_is_built_again_without_a_network(
    builder: Builder, offline: Path
) -> None:
    refs = offline / "models--org--name" / "refs"
    refs.mkdir(parents=True)
    engines = []
    for digit in "aba":
        (refs / "main").write_text(digit * 40)
        engines.append(find_repository("org/name", precision="int8"))
    assert builder.num_builds == 2
    assert (
        engines[0] == engines[2] == find_repository("org/name", precision="int8", revision="main")
    )
    assert engines[1] == find_repository("org/name", precision="int8", revision="b" * 40)


def test_other_tensors_than_an_older_source_declared_are_another_engine(
    builder: Builder, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find_repository(checkpoint, precision="int8")
    others = model_configs(RepositorySettings(max_queue_size=7))
    monkeypatch.setattr(engine_cache, "model_configs", lambda *, task: others)
    assert find_repository(checkpoint, precision="int8") != first
    assert builder.num_builds == 2


def test_other_code_of_the_models_than_an_older_source_wrote_is_another_engine(
    builder: Builder, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find_repository(checkpoint, precision="int8")
    monkeypatch.setattr("llmasos_builder.repository.model_sources", lambda: ["import llmasos.old"])
    assert find_repository(checkpoint, precision="int8") != first
    assert builder.num_builds == 2


def test_what_is_built_already_is_used_where_it_is(builder: Builder, tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "repository")
    plan_dir = repository / PLAN_IN_REPOSITORY
    assert find_repository(repository, precision="int8") == repository
    assert find_plan(repository, precision="int8") == plan_dir
    assert find_plan(plan_dir, precision="int8") == find_built(plan_dir) == plan_dir
    assert find_built(tmp_path) is None
    assert builder.num_builds == 0


def test_the_plan_inside_a_repository_stands_for_it(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = write_repository(tmp_path / "repository")
    plan_dir = repository / PLAN_IN_REPOSITORY
    link = tmp_path / "link"
    link.symlink_to(plan_dir)
    monkeypatch.chdir(plan_dir)
    for path in (plan_dir, str(plan_dir), link, "."):
        assert find_repository(path, precision="int8") == repository
    assert builder.num_builds == 0


def test_a_plan_alone_cannot_be_served(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / PLAN_FILE).write_text("{}")
    assert find_plan(tmp_path, precision="int8") == tmp_path
    with pytest.raises(PlanError, match=r"a plan alone, which cannot be served; .*llmasos build"):
        find_repository(tmp_path, precision="int8")


def test_a_name_that_is_too_long_is_refused_in_one_line(builder: Builder) -> None:
    for find in (find_plan, find_repository):
        with pytest.raises(CheckpointError, match=r"cannot look for x+.*: File name too long"):
            find("x" * 300, precision="int8")
    assert builder.num_builds == 0


def test_two_at_once_build_once(
    builder: Builder, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = use(Builder(takes_s=0.2), monkeypatch)
    threads = [
        threading.Thread(target=find_repository, args=(checkpoint,), kwargs={"precision": "int8"})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert slow.num_builds == 1


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMASOS_CACHE", "/somewhere")
    assert cache_dir() == Path("/somewhere")
    monkeypatch.delenv("LLMASOS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == Path("/xdg/llmasos")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "llmasos"


def test_a_new_engine_pushes_out_the_one_unused_for_longest(
    builder: Builder, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMASOS_CACHE_BYTES", "4")  # two manifests of two bytes
    first = find_repository(checkpoint, precision="f32")
    second = find_repository(checkpoint, precision="bf16")
    os.utime(first / PLAN_IN_REPOSITORY, (1000, 1000))
    os.utime(second / PLAN_IN_REPOSITORY, (500, 500))
    find_repository(checkpoint, precision="bf16")  # is a use
    third = find_repository(checkpoint, precision="int8")
    assert [path.exists() for path in (first, second, third)] == [False, True, True]
    assert builder.num_builds == 3


def test_a_cache_that_cannot_be_made_or_locked_is_an_error_in_one_line(
    builder: Builder, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = find_repository(checkpoint, precision="int8")
    lock = repository.parent / f".{repository.name}.lock"
    lock.unlink()
    lock.mkdir()
    with pytest.raises(PlanError, match=r"cannot be locked: Is a directory; let LLMASOS_CACHE"):
        find_repository(checkpoint, precision="int8")
    monkeypatch.setenv("LLMASOS_CACHE", str(checkpoint / "model.safetensors"))
    with pytest.raises(PlanError, match=r"cannot be locked: (Not a directory|File exists)"):
        find_repository(checkpoint, precision="int8")


def test_a_file_system_without_locks_is_an_error_in_one_line(
    builder: Builder, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("llmasos.cache_lock.fcntl.flock", flock)
    with pytest.raises(PlanError, match="cannot be locked: No locks available"):
        find_repository(checkpoint, precision="int8")


def test_an_engine_in_a_read_only_cache_is_used_as_it_is(
    builder: Builder, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = find_repository(checkpoint, precision="int8")
    (repository.parent / f".{repository.name}.lock").unlink()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert find_repository(checkpoint, precision="int8") == repository
    assert list(repository.parent.iterdir()) == [repository]


def test_an_engine_whose_time_is_anothers_is_used(
    builder: Builder, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = find_repository(checkpoint, precision="int8")

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.utime", refuse)
    assert find_repository(checkpoint, precision="int8") == repository


def test_a_wrong_limit_is_said_before_the_build(
    builder: Builder, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMASOS_CACHE_BYTES", "much")
    with pytest.raises(InvalidRequestError, match="LLMASOS_CACHE_BYTES"):
        find_repository(checkpoint, precision="int8")
    assert builder.num_builds == 0
