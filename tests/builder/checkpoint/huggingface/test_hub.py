"""A hub id is a checkpoint: downloaded from a hub once, with clear errors when it cannot be."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Generator
from pathlib import Path

import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
from fake_hub import COMMIT, FakeHub, running
from llmasos.errors import CheckpointError
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.checkpoint.huggingface.hub import _progress_bar as progress_bar
from made_gguf import llama_tensors, llama_weights, write_gguf
from refusals import refusal
from safetensors.numpy import load_file
from tiny import write_tiny_llama
from tqdm import tqdm  # type: ignore[import-untyped]  # has no stubs


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[FakeHub]:
    from huggingface_hub import constants

    directory = write_tiny_llama(tmp_path / "repository")
    (directory / "pytorch_model.bin").write_bytes(b"never fetched")
    (directory / "modeling_evil.py").write_text("raise RuntimeError")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with running(FakeHub(repository="someone/tiny", directory=directory)) as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.url)
        yield fake


def test_a_hub_id_is_downloaded_and_opened(hub: FakeHub) -> None:
    reports: list[tuple[str, int, int]] = []
    checkpoint = open_checkpoint("someone/tiny", progress=lambda *report: reports.append(report))
    assert (checkpoint.source, checkpoint.name) == ("someone/tiny", "tiny")
    local = open_checkpoint(hub.directory)
    assert checkpoint.config == local.config
    assert checkpoint.sha256() == local.sha256()
    for name in local.weights.names():
        assert np.array_equal(checkpoint.weights.load(name), local.weights.load(name))
    assert {stage for stage, _, _ in reports} == {"download someone/tiny"}
    _, done, total = reports[-1]
    assert done == total > 0


def test_progress_of_a_download_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tqdm, "monitor_interval", 10)
    before = threading.active_count()
    reports: list[tuple[str, int, int]] = []
    bar = progress_bar("download x", lambda *report: reports.append(report))(total=3, unit="B")
    bar.update(2)
    assert threading.active_count() == before
    bar.close()
    assert reports == [("download x", 2, 3)]


def test_neither_pickles_nor_code_are_fetched_beside_safetensors(hub: FakeHub) -> None:
    open_checkpoint("someone/tiny")
    wanted = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert set(hub.fetched) == wanted


def test_a_second_use_fetches_nothing(hub: FakeHub) -> None:
    open_checkpoint("someone/tiny")
    hub.fetched.clear()
    open_checkpoint("someone/tiny")
    assert not hub.fetched


@pytest.mark.parametrize("revision", ["v1", COMMIT])
def test_a_revision_is_a_tag_or_a_commit(hub: FakeHub, revision: str) -> None:
    assert open_checkpoint("someone/tiny", revision=revision).name == "tiny"


def test_an_unknown_repository_is_named(hub: FakeHub) -> None:
    assert "the hub has no repository someone/else" in refusal("someone/else")


def test_an_unknown_revision_is_named(hub: FakeHub) -> None:
    assert "someone/tiny has no revision v9 on the hub" in refusal("someone/tiny", "v9")


def test_a_gated_repository_says_what_to_do(hub: FakeHub) -> None:
    assert "gated/model is gated: accept its licence" in refusal("gated/model")


def test_an_id_that_the_hub_would_not_take_is_refused(hub: FakeHub) -> None:
    assert "someone/a--b" in refusal("someone/a--b")


def test_pickles_are_fetched_where_there_is_nothing_else(hub: FakeHub) -> None:
    weights = load_file(hub.directory / "model.safetensors")
    (hub.directory / "model.safetensors").unlink()
    torch.save(
        {name: torch.tensor(values) for name, values in weights.items()},
        hub.directory / "pytorch_model.bin",
    )
    opened = open_checkpoint("someone/tiny").weights
    assert opened.names() == weights.keys()
    assert "pytorch_model.bin" in hub.fetched and "modeling_evil.py" not in hub.fetched


def test_shards_are_fetched_however_their_names_are_cut(hub: FakeHub) -> None:
    """As BLOOM's are, with a line below where others have one between."""
    shard = "model_00001-of-00001.safetensors"
    (hub.directory / "model.safetensors").rename(hub.directory / shard)
    index = {"weight_map": {"model.norm.weight": shard}}
    (hub.directory / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model.norm.weight" in open_checkpoint("someone/tiny").weights.names()
    assert shard in hub.fetched and "pytorch_model.bin" not in hub.fetched


def test_a_repository_without_weights_is_named(hub: FakeHub) -> None:
    (hub.directory / "model.safetensors").unlink()
    (hub.directory / "pytorch_model.bin").unlink()
    assert "has neither model.safetensors nor pytorch_model.bin" in refusal("someone/tiny")


def test_a_repository_of_gguf_files_says_how_to_name_one(hub: FakeHub) -> None:
    (hub.directory / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"someone/tiny has no config.json") as caught:
        open_checkpoint("someone/tiny")
    assert "someone/tiny/FILE.gguf" in str(caught.value)


def test_without_a_network_the_cache_is_used_or_the_problem_named(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_checkpoint("someone/tiny")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert open_checkpoint("someone/tiny").name == "tiny"
    assert "the hub cannot be reached" in refusal("someone/never")


def test_a_directory_of_that_name_comes_first(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(hub.directory, tmp_path / "someone" / "tiny")
    monkeypatch.chdir(tmp_path)
    open_checkpoint("someone/tiny")
    assert not hub.fetched


def test_a_gguf_file_there_is_downloaded_with_its_shards(hub: FakeHub) -> None:
    tensors = llama_tensors(llama_weights())
    write_gguf(hub.directory / "other.gguf", tensors)
    write_gguf(hub.directory / "tiny.gguf", tensors, splits=8)
    shards = sorted(path.name for path in hub.directory.glob("tiny-0*.gguf"))
    assert len(shards) == 3
    source = f"someone/tiny/{shards[1]}"
    checkpoint = open_checkpoint(source)
    assert sorted(set(hub.fetched)) == shards == sorted(checkpoint.files)
    assert (checkpoint.source, checkpoint.name) == (source, "tiny")
    assert checkpoint.weights.names() == llama_weights().keys()
    whole = open_checkpoint("someone/tiny/other.gguf", revision="v1")
    assert (whole.name, list(whole.files)) == ("other", ["other.gguf"])


def test_a_gguf_file_that_is_not_there_is_named(hub: FakeHub) -> None:
    assert "someone/tiny has no file no.gguf on the hub" in refusal("someone/tiny/no.gguf")
    assert "the hub has no repository someone/else" in refusal("someone/else/no.gguf")
