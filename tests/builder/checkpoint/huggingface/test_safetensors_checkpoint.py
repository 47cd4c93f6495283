"""A Hugging Face directory: tensors one at a time, and one clear line for all that can be wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmasos.errors import CheckpointError
from llmasos.text.tokenizer import Tokenizer
from llmasos_builder.checkpoint import open_checkpoint
from made_tokenizers import TEXTS, byte_level, write_tokenizer
from numpy.typing import NDArray
from refusals import refusal
from safetensors.numpy import save_file

A = np.arange(6, dtype=np.float32).reshape(2, 3) / 7
B = np.full((4,), -1.5, dtype=np.float32)


def write_checkpoint(
    directory: Path, tensors: Mapping[str, NDArray[Any]] | None = None, **config: Any
) -> Path:
    """One safetensors file with tensors a and b, a tokenizer and a config."""
    write_tokenizer(directory, byte_level())
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    chosen = {"model.a": A, "model.b": B} if tensors is None else tensors
    save_file(dict(chosen), directory / "model.safetensors")
    return directory


def write_shards(directory: Path) -> Path:
    """The same checkpoint in two files and an index."""
    write_checkpoint(directory)
    (directory / "model.safetensors").unlink()
    homes = {"model.a": "model-1-of-2.safetensors", "model.b": "model-2-of-2.safetensors"}
    save_file({"model.a": A}, directory / homes["model.a"])
    save_file({"model.b": B}, directory / homes["model.b"])
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": homes}))
    return directory


@pytest.mark.parametrize("write", [write_checkpoint, write_shards])
def test_tensors_are_read_by_name(tmp_path: Path, write: Any) -> None:
    weights = open_checkpoint(write(tmp_path / "m")).weights
    assert weights.names() == {"model.a", "model.b"}
    assert weights.shape("model.a") == (2, 3)
    for name, expected in (("model.a", A), ("model.b", B)):
        loaded = weights.load(name)
        assert loaded.dtype == np.float32
        assert np.array_equal(loaded, expected)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_every_float_type_is_read_as_float32(tmp_path: Path, dtype: Any) -> None:
    stored = A.astype(dtype)
    weights = open_checkpoint(write_checkpoint(tmp_path, {"model.a": stored})).weights
    loaded = weights.load("model.a")
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded, stored.astype(np.float32))


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e4m3fn, np.int8, np.int64, np.bool_])
def test_a_tensor_of_another_type_is_refused_when_it_is_wanted(tmp_path: Path, dtype: Any) -> None:
    tensors = {"model.a": A, "model.odd": A.astype(dtype)}
    weights = open_checkpoint(write_checkpoint(tmp_path, tensors)).weights
    assert np.array_equal(weights.load("model.a"), A)
    with pytest.raises(CheckpointError, match=r"tensor model.odd has the type \w+, which is not"):
        weights.load("model.odd")


def test_an_unknown_tensor_is_named(tmp_path: Path) -> None:
    weights = open_checkpoint(write_checkpoint(tmp_path)).weights
    for ask in (weights.shape, weights.load):
        with pytest.raises(CheckpointError, match=r"no tensor model\.c"):
            ask("model.c")


def test_a_quantized_checkpoint_is_refused_by_its_method(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, quantization_config={"quant_method": "hqq", "bits": 4})
    assert "quantized already (hqq)" in refusal(tmp_path)


def test_a_body_saved_alone_gets_the_names_of_the_whole(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {"wte.weight": A}, model_type="gpt2")
    weights = open_checkpoint(tmp_path).weights
    assert weights.names() == {"transformer.wte.weight"}
    assert weights.shape("transformer.wte.weight") == A.shape
    assert np.array_equal(weights.load("transformer.wte.weight"), A)
    with pytest.raises(CheckpointError, match=r"no tensor wte\.weight"):
        weights.load("wte.weight")


@pytest.mark.parametrize("stored", ["embed_out.weight", "lm_head.weight"])
def test_an_older_name_of_a_tensor_is_known(tmp_path: Path, stored: str) -> None:
    tensors = {"gpt_neox.embed_in.weight": B, stored: A}
    weights = open_checkpoint(write_checkpoint(tmp_path, tensors, model_type="gpt_neox")).weights
    assert weights.names() == {"gpt_neox.embed_in.weight", "lm_head.weight"}
    assert weights.shape("lm_head.weight") == A.shape
    assert np.array_equal(weights.load("lm_head.weight"), A)


def test_a_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    tensors = {"gpt_neox.embed_in.weight": B, "embed_out.weight": A, "lm_head.weight": A}
    assert "embed_out.weight and lm_head.weight, which are" in refusal(
        write_checkpoint(tmp_path, tensors, model_type="gpt_neox")
    )


def test_the_checkpoint_says_what_it_is(tmp_path: Path) -> None:
    directory = write_checkpoint(tmp_path / "tiny", auto_map={"AutoModel": "evil.py"})
    checkpoint = open_checkpoint(str(directory))
    assert checkpoint.source == str(directory)
    assert checkpoint.name == "tiny"
    assert checkpoint.config["model_type"] == "llama"
    assert set(checkpoint.tokenizer_files) == {"tokenizer.json", "tokenizer_config.json"}


def test_the_hash_is_of_what_sha256sum_prints(tmp_path: Path) -> None:
    directory = write_shards(tmp_path)
    names = sorted(p.name for p in directory.iterdir())
    digests = {n: hashlib.sha256((directory / n).read_bytes()).hexdigest() for n in names}
    lines = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    assert open_checkpoint(directory).sha256() == hashlib.sha256(lines.encode()).hexdigest()
    save_file({"model.b": B + 1}, directory / "model-2-of-2.safetensors")
    assert open_checkpoint(directory).sha256() != hashlib.sha256(lines.encode()).hexdigest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("whole"))


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_a_file_cut_anywhere_is_refused_with_its_name(whole: Path, data: st.DataObject) -> None:
    content = (whole / "model.safetensors").read_bytes()
    size = data.draw(st.integers(0, len(content) - 1))
    try:
        (whole / "model.safetensors").write_bytes(content[:size])
        assert "model.safetensors" in refusal(whole)
    finally:
        (whole / "model.safetensors").write_bytes(content)


@given(st.integers(0, 200), st.binary(min_size=1, max_size=8))
@settings(deadline=None, max_examples=60)
def test_a_damaged_header_never_shows_a_library_error(
    whole: Path, offset: int, damage: bytes
) -> None:
    content = bytearray((whole / "model.safetensors").read_bytes())
    changed = content[:offset] + damage + content[offset + len(damage) :]
    try:
        (whole / "model.safetensors").write_bytes(changed)
        weights = open_checkpoint(whole).weights
        for name in weights.names():
            weights.load(name)
    except CheckpointError as error:
        assert "\n" not in str(error)
    finally:
        (whole / "model.safetensors").write_bytes(content)


def test_a_file_with_bytes_too_many_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path) / "model.safetensors"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"x")
    assert f"has {size + 1} bytes, its header promises {size}" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "config.json does not exist"),
        ("config.json", b'{"a": ', "config.json is not valid JSON"),
        ("config.json", b"[]", "config.json must hold a JSON object, got list"),
        ("tokenizer.json", None, "has no tokenizer.json"),
        ("tokenizer.json", b"{,}", "tokenizer.json is not valid JSON"),
        ("tokenizer_config.json", b"3", "tokenizer_config.json must hold a JSON object, got int"),
        ("model.safetensors", None, "has neither model.safetensors nor pytorch_model.bin"),
        ("model.safetensors", b"", "model.safetensors is truncated or not a safetensors file"),
    ],
)
def test_a_missing_or_wrong_file_is_named(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    assert message in refusal(tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    (write_shards(tmp_path) / "model-2-of-2.safetensors").unlink()
    message = refusal(tmp_path)
    assert "model-2-of-2.safetensors does not exist" in message
    assert "lists 2 shards" in message


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (None, "weight_map must map tensor names to file names"),
        ({"a": 1}, "weight_map must map tensor names to file names"),
        ({"a": "../outside.safetensors"}, "'../outside.safetensors' is not a file name"),
        ({"a": "/etc/passwd"}, "'/etc/passwd' is not a file name"),
    ],
)
def test_a_wrong_index_is_refused(tmp_path: Path, weight_map: Any, message: str) -> None:
    index = write_shards(tmp_path) / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert message in refusal(tmp_path)


def test_shards_without_an_index_are_refused(tmp_path: Path) -> None:
    (write_shards(tmp_path) / "model.safetensors.index.json").unlink()
    assert "2 safetensors files but no model.safetensors.index.json" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["model.pt", "weights.pkl"])
def test_other_pickles_get_the_way_to_convert_them(tmp_path: Path, name: str) -> None:
    (write_checkpoint(tmp_path) / "model.safetensors").rename(tmp_path / name)
    message = refusal(tmp_path)
    assert f"has {name}, and neither model.safetensors nor pytorch_model.bin" in message
    assert "save_pretrained" in message
    assert "is one file of a checkpoint; name its directory" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere/at/all", "there is no checkpoint nowhere/at/all"),
        ("no-such-name", "there is no checkpoint no-such-name"),
        ("missing.gguf", "there is no checkpoint missing.gguf"),
        ("dir/missing.gguf", "there is no checkpoint dir/missing.gguf"),
        ("", "there is no checkpoint"),
    ],
)
def test_what_is_no_checkpoint_gets_what_could_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refusal(source)
    assert message in said
    assert "smollm2-135m-instruct" in said


def test_one_file_of_a_checkpoint_is_refused_with_a_hint(tmp_path: Path) -> None:
    assert "name its directory" in refusal(write_checkpoint(tmp_path) / "model.safetensors")
    assert "neither a directory nor a .gguf file" in refusal(tmp_path / "config.json")


@pytest.mark.parity
def test_gpt2s_two_files_make_its_tokenizer(tmp_path: Path) -> None:
    import needs_torch  # noqa: F401
    from transformers import GPT2Tokenizer

    directory = write_checkpoint(tmp_path / "m")
    model = json.loads((directory / "tokenizer.json").read_text())["model"]
    vocab = {**model["vocab"], "<|endoftext|>": len(model["vocab"])}
    (directory / "tokenizer.json").unlink()
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    (directory / "vocab.json").write_text(json.dumps(vocab))
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (directory / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    made = tmp_path / "made"
    made.mkdir()
    for name, content in open_checkpoint(directory).tokenizer_files.items():
        (made / name).write_bytes(content)
    ours, theirs = Tokenizer.load(made), GPT2Tokenizer.from_pretrained(directory)
    for text in (*TEXTS, "a<|endoftext|>b"):
        assert ours.encode(text) == theirs.encode(text)
        assert ours.decode(ours.encode(text)) == theirs.decode(
            theirs.encode(text), skip_special_tokens=True
        )


def write_opts_tokenizer(directory: Path, **config: Any) -> Path:
    """Two files and a config, as OPT's checkpoints have them."""
    directory = write_checkpoint(directory)
    model = json.loads((directory / "tokenizer.json").read_text())["model"]
    vocab = {**model["vocab"], "</s>": len(model["vocab"]), "<pad>": len(model["vocab"]) + 1}
    (directory / "tokenizer.json").unlink()
    (directory / "vocab.json").write_text(json.dumps(vocab))
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (directory / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    names = {"unk_token": "</s>", "bos_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>"}
    tokens = {name: {"__type": "AddedToken", "content": text} for name, text in names.items()}
    fields = {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, **tokens, **config}
    (directory / "tokenizer_config.json").write_text(json.dumps(fields))
    return directory


@pytest.mark.parity
@pytest.mark.parametrize("config", [{}, {"add_bos_token": False}, {"add_prefix_space": True}])
def test_opts_files_make_its_tokenizer(tmp_path: Path, config: dict[str, Any]) -> None:
    import needs_torch  # noqa: F401
    from transformers import AutoTokenizer

    directory = write_opts_tokenizer(tmp_path / "m", **config)
    made = tmp_path / "made"
    made.mkdir()
    for name, content in open_checkpoint(directory).tokenizer_files.items():
        (made / name).write_bytes(content)
    ours, theirs = Tokenizer.load(made), AutoTokenizer.from_pretrained(directory)
    for text in (*TEXTS, "a</s>b<pad>"):
        assert ours.encode(text) == theirs.encode(text)
        assert ours.decode(ours.encode(text)) == theirs.decode(
            theirs.encode(text), skip_special_tokens=True
        )


def test_merges_that_do_not_fit_the_vocabulary_are_refused(tmp_path: Path) -> None:
    (write_checkpoint(tmp_path) / "tokenizer.json").unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    for merges in ("x y", "a", "a b c"):
        (tmp_path / "merges.txt").write_text(merges)
        assert "do not fit" in refusal(tmp_path)


def test_tekken_alone_gets_the_way_to_convert_it(tmp_path: Path) -> None:
    directory = write_checkpoint(tmp_path)
    shutil.move(directory / "tokenizer.json", directory / "tekken.json")
    assert "has tekken.json but no tokenizer.json" in refusal(tmp_path)
