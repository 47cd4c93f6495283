"""A plan is read only if it is whole, unchanged and of this release's version."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from llmasos.engine.plan import PLAN_FILE, PLAN_VERSION, CheckpointRecord, EnginePlan, Limits
from llmasos.engine.plan_files import FileRecord, record_file
from llmasos.engine.weight_format import stored_weights
from llmasos.errors import PlanError

ENGINE = b"compiled engine"


def write_plan(directory: Path) -> EnginePlan:
    (directory / "engine.bin").write_bytes(ENGINE)
    (directory / "sub").mkdir()
    (directory / "sub" / "tokenizer.json").write_text("{}")
    names = ("engine.bin", "sub/tokenizer.json")
    plan = EnginePlan(
        version=PLAN_VERSION,
        name="tiny",
        target="openvino",
        architecture="LlamaForCausalLM",
        precision="int8",
        weights=stored_weights("int8"),
        kv_cache_precision="u8",
        deterministic=False,
        limits=Limits(max_seq_len=128),
        vocab_size=300,
        num_layers=2,
        num_kv_heads=2,
        head_size=16,
        eos_token_ids=(2, 7),
        checkpoint=CheckpointRecord(source="somewhere", sha256="0" * 64),
        built_with={"llmasos": "0.1.0"},
        files={name: record_file(directory / name) for name in names},
    )
    plan.write(directory)
    return plan


def change(directory: Path, **fields: Any) -> None:
    path = directory / PLAN_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def refusal(directory: Path) -> str:
    with pytest.raises(PlanError) as caught:
        EnginePlan.load(directory)
    message = str(caught.value)
    assert "\n" not in message
    assert "build it again with `llmasos build`" in message
    return message


def test_what_is_written_is_read(tmp_path: Path) -> None:
    plan = write_plan(tmp_path)
    assert EnginePlan.load(tmp_path) == plan
    assert EnginePlan.load(str(tmp_path)) == plan
    assert sorted(p.name for p in tmp_path.iterdir()) == ["engine.bin", PLAN_FILE, "sub"]


def test_an_older_plan_is_told_to_be_built_again(tmp_path: Path) -> None:
    write_plan(tmp_path)
    text = json.loads((tmp_path / PLAN_FILE).read_text())
    del text["weights"], text["task"]
    (tmp_path / PLAN_FILE).write_text(json.dumps({**text, "version": 1}))
    assert f"has version 1, this release reads {PLAN_VERSION}" in refusal(tmp_path)


def test_a_plan_of_another_task_is_refused_by_name(tmp_path: Path) -> None:
    plan = write_plan(tmp_path)
    plan.check_task("generate")
    sizes = {"num_layers": 0, "num_kv_heads": 0, "head_size": 0}
    change(tmp_path, task="embed", encoder={"width": 8}, **sizes)
    other = EnginePlan.load(tmp_path)
    with pytest.raises(PlanError, match="tiny is built for the task embed, and the task asked"):
        other.check_task("generate")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"num_layers": 0}, "task generate does not go with a KV cache of the sizes (0, 2, 16)"),
        ({"task": "embed", "head_size": 0}, "task embed does not go with a KV cache of the sizes"),
        ({"precision": "f32"}, "precision f32 does not go with weights in int8"),
        ({"weights": {"format": {"kind": "int8"}}}, "weights in int8 do not go with method None"),
        (
            {"weights": {"format": {"kind": "f32"}, "method": "rtn"}, "precision": "f32"},
            "weights in f32 do not go with method rtn",
        ),
        ({"weights": {"format": {"kind": "int3"}, "method": "rtn"}}, "weights.format.kind"),
    ],
)
def test_what_a_plan_says_of_its_network_must_agree(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    write_plan(tmp_path)
    change(tmp_path, **fields)
    assert reason in refusal(tmp_path)


def test_weights_say_what_is_stored_apart_from_how_it_was_found() -> None:
    assert str(stored_weights("int4", "rtn-clip-search")) == (
        "int4, groups of up to 128, found by rtn-clip-search"
    )
    assert stored_weights("int4").format == stored_weights("int4", "rtn-clip-search").format
    assert (str(stored_weights("int8")), str(stored_weights("bf16"))) == (
        "int8, found by rtn",
        "bf16",
    )


def test_a_record_holds_size_and_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(ENGINE)
    expected = FileRecord(size=len(ENGINE), sha256=hashlib.sha256(ENGINE).hexdigest())
    assert record_file(tmp_path / "f") == expected


def test_a_missing_plan_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path / PLAN_FILE} does not exist" in refusal(tmp_path)


def test_another_version_is_named_before_anything_else(tmp_path: Path) -> None:
    write_plan(tmp_path)
    change(tmp_path, version=PLAN_VERSION + 1, news="a field of that version")
    said = f"has version {PLAN_VERSION + 1}, this release reads {PLAN_VERSION}"
    assert said in refusal(tmp_path)


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    write_plan(tmp_path)
    (tmp_path / "engine.bin").write_bytes(ENGINE[::-1])
    assert "engine.bin has changed since it was built" in refusal(tmp_path)


def test_a_truncated_file_is_named_with_both_sizes(tmp_path: Path) -> None:
    write_plan(tmp_path)
    (tmp_path / "engine.bin").write_bytes(ENGINE[:-5])
    assert f"engine.bin has {len(ENGINE) - 5} bytes, {len(ENGINE)} expected" in refusal(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_plan(tmp_path)
    (tmp_path / "sub" / "tokenizer.json").unlink()
    assert "tokenizer.json is missing" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"novelty": 1}, "novelty is a field that this release does not know"),
        ({"limits": {"max_seq_len": 8, "x": 1}}, "limits.x is a field that this release does not"),
        (
            {"limits": {"max_seq_len": 1}},
            "limits.max_seq_len: .* greater than or equal to 2, got 1",
        ),
        ({"limits": {}}, "limits.max_seq_len is missing"),
        ({"precision": "int3"}, "precision: .*'int8', .*got 'int3'"),
        ({"target": "abacus"}, "target: .*got 'abacus'"),
        ({"vocab_size": 0}, "vocab_size: .*got 0"),
        ({"eos_token_ids": ["x"]}, "eos_token_ids.0: .*got 'x'"),
        ({"version": "one"}, "version: .*got 'one'"),
        ({"files": {"engine.bin": {"size": 1, "sha256": "short"}}}, "sha256: .*got 'short'"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    write_plan(tmp_path)
    change(tmp_path, **fields)
    with pytest.raises(PlanError, match=message):
        EnginePlan.load(tmp_path)
    refusal(tmp_path)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "sub/../../secret", "", ".", "a//b", "a\\b", PLAN_FILE]
)
def test_a_listed_file_stays_inside_the_plan(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "plan"
    directory.mkdir()
    write_plan(directory)
    (tmp_path / "secret").write_bytes(ENGINE)
    record = record_file(tmp_path / "secret")
    change(directory, files={name: record.model_dump()})
    assert "is not a " in refusal(directory)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"{} {}"])
def test_a_plan_that_is_no_json_object_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / PLAN_FILE).write_bytes(content)
    assert str(tmp_path / PLAN_FILE) in refusal(tmp_path)
