"""The shards of a GGUF file are one checkpoint, whichever of them is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.checkpoint.gguf.shards import shard_pattern, without_shard
from made_gguf import llama_tensors, llama_weights, write_gguf
from refusals import refusal

COUNT = 3


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    return write_shards(tmp_path / "split" / "tiny.gguf")


def write_shards(path: Path, *, seed: int = 0) -> list[Path]:
    """gguf's own writer splits; a copy of the metadata is in the first shard alone."""
    path.parent.mkdir(exist_ok=True)
    tensors = llama_tensors(llama_weights(seed=seed))
    write_gguf(path, tensors, splits=-(-len(tensors) // COUNT))
    found = sorted(path.parent.glob(f"{path.stem}-*.gguf"))
    assert [p.name for p in found] == [f"{path.stem}-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    return found


@pytest.mark.parametrize("named", range(COUNT))
def test_any_shard_opens_all(shards: list[Path], named: int) -> None:
    checkpoint = open_checkpoint(shards[named])
    assert checkpoint.name == "tiny"
    assert checkpoint.tokenizer_files["tokenizer.json"]
    assert sorted(checkpoint.files) == [path.name for path in shards]
    weights = llama_weights()
    assert checkpoint.weights.names() == weights.keys()
    for name, weight in weights.items():
        assert np.array_equal(checkpoint.weights.load(name), weight), name


def test_all_shards_are_in_the_hash(shards: list[Path]) -> None:
    before = open_checkpoint(shards[0]).sha256()
    content = bytearray(shards[2].read_bytes())
    content[-1] ^= 1
    shards[2].write_bytes(bytes(content))
    assert open_checkpoint(shards[0]).sha256() != before


def test_a_missing_shard_is_named(shards: list[Path]) -> None:
    shards[1].unlink()
    assert "of which tiny-00002-of-00003.gguf is missing beside it" in refusal(shards[2])
    shards[0].unlink()
    assert "tiny-00001-of-00003.gguf, tiny-00002-of-00003.gguf are missing" in refusal(shards[2])


def test_a_shard_under_another_ones_name_is_found_out(shards: list[Path]) -> None:
    shutil.copy(shards[0], shards[1])
    assert "tiny-00002-of-00003.gguf says that it is shard 0 (from 0) of 3" in refusal(shards[0])


def test_a_shard_that_was_renamed_does_not_find_the_others(shards: list[Path]) -> None:
    alone = shards[0].rename(shards[0].with_name("alone.gguf"))
    assert "is one of 3 shards, and not called NAME-00001-of-00003.gguf" in refusal(alone)


def test_tensors_that_are_missing_altogether_are_counted(tmp_path: Path) -> None:
    first, second, third = write_shards(tmp_path / "split" / "tiny.gguf")
    writer = GGUFWriter(third, "llama")
    writer.add_uint16("split.no", 2)
    writer.add_uint16("split.count", COUNT)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert "its shards hold" in refusal(first) and "expected" in refusal(second)


def test_a_damaged_shard_is_named(shards: list[Path]) -> None:
    shards[1].write_bytes(shards[1].read_bytes()[:-40])
    assert "tiny-00002-of-00003.gguf is truncated" in refusal(shards[0])


def test_a_count_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_gguf(path, llama_tensors(llama_weights()), values={"split.count": "many"})
    assert "split.count must be a number, got 'many'" in refusal(path)


def test_names_of_shards() -> None:
    assert without_shard("a-Q4_K_M-00002-of-00010.gguf") == "a-Q4_K_M"
    assert without_shard("a-00002.gguf") == "a-00002"
    assert shard_pattern("a-00002-of-00010.gguf") == "a-?????-of-00010.gguf"
    assert shard_pattern("a.gguf") == "a.gguf"
