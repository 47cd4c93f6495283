"""Bytes that are changed, cut out or put in anywhere: a checkpoint is read or refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hostile.making import sound
from hostile.worker import open_and_read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llmasos.errors import CheckpointError
from made_gguf import llama_tensors, llama_weights, write_gguf

FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "m.gguf")
HEADER = 4000  # where damage does most


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = sound(tmp_path_factory.mktemp("sound") / "checkpoint")
    write_gguf(directory / "m.gguf", llama_tensors(llama_weights(layers=1)))
    return directory


@pytest.mark.parametrize("name", FILES)
@given(
    place=st.integers(0, HEADER),
    removed=st.integers(0, 8),
    inserted=st.binary(max_size=8) | st.sampled_from([b'"', b"{", b"[", b"9" * 20, b"\xff" * 8]),
    is_cut=st.integers(0, 9).map(lambda n: n == 0),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_checkpoint_is_read_or_refused_in_one_line(
    checkpoint: Path,
    tmp_path: Path,
    name: str,
    *,
    place: int,
    removed: int,
    inserted: bytes,
    is_cut: bool,
) -> None:
    directory = tmp_path / "damaged"
    shutil.rmtree(tmp_path)
    shutil.copytree(checkpoint, directory)
    content = (directory / name).read_bytes()
    place %= len(content)
    behind = b"" if is_cut else content[place + removed :]
    (directory / name).write_bytes(content[:place] + inserted + behind)
    source = directory / name if name.endswith(".gguf") else directory
    try:
        open_and_read(source, tmp_path / "plan")
    except CheckpointError as error:
        assert str(error).isprintable()
