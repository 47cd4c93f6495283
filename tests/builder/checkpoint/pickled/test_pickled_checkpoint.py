"""What torch has pickled is read as tensors, and nothing of it runs."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llmasos.errors import CheckpointError
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.checkpoint.pickled.pickled_weights import PickledWeights
from made_tokenizers import byte_level, write_tokenizer
from refusals import refusal

A = torch.arange(6, dtype=torch.float32).reshape(2, 3) / 7
B = torch.full((4,), -1.5)


class Evil:
    """Calls what it likes when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return shutil.rmtree, (self.path,)


def write(directory: Path, content: Any, name: str = "pytorch_model.bin") -> Path:
    write_tokenizer(directory, byte_level())
    (directory / "config.json").write_text(json.dumps({"model_type": "llama"}))
    torch.save(content, directory / name)
    return directory


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_float_type_is_read_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    stored = A.to(dtype)
    checkpoint = open_checkpoint(write(tmp_path, OrderedDict({"model.a": stored})))
    assert checkpoint.weights.names() == {"model.a"}
    assert checkpoint.weights.shape("model.a") == (2, 3)
    loaded = checkpoint.weights.load("model.a")
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded, stored.float().numpy())
    assert "pytorch_model.bin" in checkpoint.files


def test_views_and_what_shares_a_storage_are_read_as_torch_reads_them(tmp_path: Path) -> None:
    tensors = {
        "model.a": A,
        "model.turned": A.T,
        "model.part": A[:, 1:],
        "model.same": A[1:],
        "model.wide": B[:1].expand(3, 2),
        "model.number": torch.tensor(2.5),
        "model.none": torch.zeros(0, 3),
        "model.parameter": torch.nn.Parameter(A),
    }
    weights = open_checkpoint(write(tmp_path, tensors)).weights
    theirs = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    for name, tensor in tensors.items():
        assert weights.shape(name) == tuple(tensor.shape)
        assert np.array_equal(weights.load(name), theirs[name].detach().numpy()), name


def test_what_a_module_saves_is_read(tmp_path: Path) -> None:
    module = torch.nn.ModuleDict({"model": torch.nn.Linear(3, 2), "mask": torch.nn.Identity()})
    module.register_buffer("model_mask", torch.ones(2, dtype=torch.bool))
    weights = open_checkpoint(write(tmp_path, module.state_dict())).weights
    assert weights.names() == {"model.weight", "model.bias", "model_mask"}
    expected = module["model"].weight.detach().numpy()
    assert np.array_equal(weights.load("model.weight"), expected)
    with pytest.raises(CheckpointError, match="model_mask has the type BOOL, which is not read"):
        weights.load("model_mask")


def test_shards_are_read_by_their_index(tmp_path: Path) -> None:
    homes = {f"model.{n}": f"pytorch_model-0000{i}-of-00002.bin" for i, n in ((1, "a"), (2, "b"))}
    write(tmp_path, {"model.a": A}, homes["model.a"])
    write(tmp_path, {"model.b": B}, homes["model.b"])
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": homes}))
    weights = open_checkpoint(tmp_path).weights
    assert weights.names() == {"model.a", "model.b"}
    assert np.array_equal(weights.load("model.b"), B.numpy())
    (tmp_path / homes["model.b"]).unlink()
    assert "pytorch_model-00002-of-00002.bin does not exist" in refusal(tmp_path)


def test_nothing_of_a_pickle_runs(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    write(tmp_path, {"model.a": A, "model.b": Evil(tmp_path / "precious")})
    message = refusal(tmp_path)
    assert "pytorch_model.bin holds objects that are not tensors: it names shutil.rmtree" in message
    assert "save_pretrained" in message
    assert (tmp_path / "precious").exists()
    torch.load(tmp_path / "pytorch_model.bin", weights_only=False)
    assert not (tmp_path / "precious").exists(), "a pickle that runs nothing shows nothing"


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "torch.load", "collections.Counter", "torch._utils.x"]
)
def test_every_name_but_those_of_tensors_is_refused(tmp_path: Path, name: str) -> None:
    module, _, attribute = name.rpartition(".")
    content = b"\x80\x02}c" + f"{module}\n{attribute}\n".encode() + b"0."
    write_tokenizer(tmp_path, byte_level())
    (tmp_path / "config.json").write_text("{}")
    with zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", content)
    assert f"holds objects that are not tensors: it names {name}" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (A, "the pickle is not a dictionary"),
        ([A], "it has the instruction EMPTY_LIST"),
        ({"model.a": 3}, "it holds 'model.a', which is no tensor"),
        ({"state_dict": {"model.a": A}}, "it holds 'state_dict', which is no tensor"),
        ({3: A}, "it holds 3, which is no tensor"),
        ({"model.a": A.to_sparse()}, "objects that are not tensors: it names"),
        (
            {"model.a": A.to(torch.complex64)},
            "objects that are not tensors: it names torch.Complex",
        ),
    ],
)
def test_what_is_no_dictionary_of_tensors_is_refused(
    tmp_path: Path, content: Any, message: str
) -> None:
    assert message in refusal(write(tmp_path, content))


def test_the_form_before_torch_1_6_is_named(tmp_path: Path) -> None:
    write(tmp_path, {})
    older = tmp_path / "pytorch_model.bin"
    torch.save({"model.a": A}, older, _use_new_zipfile_serialization=False)
    assert f"{older} is not in the form that torch saves in since its version 1.6" in refusal(
        tmp_path
    )


def archive_of(path: Path, **records: bytes) -> None:
    """The archive again, with some records changed."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, records.get(name.rpartition("/")[2], data))


def test_a_storage_of_another_size_is_damaged(tmp_path: Path) -> None:
    path = write(tmp_path, {"model.a": A}) / "pytorch_model.bin"
    archive_of(path, **{"0": b"\0" * 20})
    with pytest.raises(CheckpointError, match="data/0 has 20 bytes, 24 expected"):
        open_checkpoint(tmp_path).weights.load("model.a")
    archive_of(path, **{"0": b"\0" * 28})
    with pytest.raises(CheckpointError, match="data/0 has 28 bytes, at most 24 expected"):
        open_checkpoint(tmp_path).weights.load("model.a")


def test_big_endian_numbers_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {"model.a": A}) / "pytorch_model.bin"
    archive_of(path, byteorder=b"big")
    assert "has big-endian numbers, which are not supported" in refusal(tmp_path)


def test_a_tensor_reaches_no_further_than_its_storage(tmp_path: Path) -> None:
    path = write(tmp_path, {"model.a": A}) / "pytorch_model.bin"
    with zipfile.ZipFile(path) as archive:
        described = archive.read("pytorch_model/data.pkl")
    assert b"K\x02K\x03\x86" in described  # the shape
    archive_of(path, **{"data.pkl": described.replace(b"K\x02K\x03\x86", b"K\x03K\x03\x86")})
    assert "is damaged: a tensor that ends after its storage" in refusal(tmp_path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "pytorch_model.bin"
    torch.save({"model.a": A, "model.b": B.to(torch.bfloat16)}, path)
    return path.read_bytes()


@given(offset=st.integers(0, 1500), damage=st.binary(min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_a_damaged_file_is_read_or_refused_in_one_line(
    sound: bytes, tmp_path_factory: pytest.TempPathFactory, offset: int, damage: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.bin"
    path.write_bytes(sound[:offset] + damage + sound[offset + len(damage) :])
    try:
        weights = PickledWeights({path.name: path})
        for name in weights.names():
            weights.load(name)
    except CheckpointError as error:
        assert "\n" not in str(error)


def test_a_pickle_in_place_of_an_archive_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {})
    (tmp_path / "precious").mkdir()
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(tmp_path / "precious")))
    assert "is not in the form that torch saves in" in refusal(tmp_path)
    assert (tmp_path / "precious").exists()
