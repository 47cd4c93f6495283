"""The engine plan: what the builder writes and the runtime reads.

A plan is a directory: ``plan.json``, the compiled engine, the tokenizer. The
builder and the runtime never import each other; this typed, versioned manifest
is all that they share.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmasos.errors import PlanError

PLAN_FILE = "plan.json"
PLAN_VERSION = 1
REBUILD = "build it again with `llmasos build`"

Target = Literal["openvino"]
Precision = Literal["f32", "bf16", "int8"]
KVCachePrecision = Literal["f32", "bf16", "u8"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Record):
    """The most that one engine handles.

    max_batch_size: sequences in one step. max_num_tokens: tokens in one step.
    max_seq_len: prompt and output tokens of one sequence.
    """

    max_batch_size: int = Field(default=64, ge=1)
    max_num_tokens: int = Field(default=2048, ge=1)
    max_seq_len: int = Field(ge=2)


class FileRecord(_Record):
    """Size in bytes and content hash of one file of the plan."""

    size: int = Field(ge=0)
    sha256: str


class CheckpointRecord(_Record):
    """Where the weights came from; sha256 is over the checkpoint's files."""

    source: str
    sha256: str


class EnginePlan(_Record):
    """Everything the runtime must know about an engine before it loads it."""

    version: int
    name: str
    target: Target
    architecture: str
    precision: Precision
    kv_cache_precision: KVCachePrecision
    deterministic: bool
    limits: Limits
    vocab_size: int
    num_layers: int
    num_kv_heads: int
    head_size: int
    eos_token_ids: tuple[int, ...]
    checkpoint: CheckpointRecord
    built_with: dict[str, str]
    files: dict[str, FileRecord]

    @classmethod
    def load(cls, directory: Path | str) -> EnginePlan:
        """Read ``plan.json`` and check every file it lists; raises PlanError in one line."""
        directory = Path(directory)
        plan = cls.read(directory)
        for name, record in plan.files.items():
            _check_file(directory / name, record)
        return plan

    @classmethod
    def read(cls, directory: Path | str) -> EnginePlan:
        """Read ``plan.json`` alone, without checking the files beside it."""
        path = Path(directory) / PLAN_FILE
        if not path.is_file():
            raise PlanError(f"{path} does not exist", hint=REBUILD)
        text = path.read_text(encoding="utf-8")
        try:
            version = _Version.model_validate_json(text).version
            if version != PLAN_VERSION:
                raise PlanError(
                    f"{path} has version {version}, this release reads {PLAN_VERSION}", hint=REBUILD
                )
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise PlanError(f"{path}: {where}: {first['msg']}", hint=REBUILD) from error

    def write(self, directory: Path) -> None:
        """Write ``plan.json`` into a directory that holds the files it lists."""
        (directory / PLAN_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


class _Version(BaseModel):
    version: int


def record_file(path: Path) -> FileRecord:
    """Size and sha256 of a file."""
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while chunk := stream.read(1 << 22):
            digest.update(chunk)
    return FileRecord(size=path.stat().st_size, sha256=digest.hexdigest())


def _check_file(path: Path, expected: FileRecord) -> None:
    if not path.is_file():
        raise PlanError(f"{path} is missing", hint=REBUILD)
    size = path.stat().st_size
    if size != expected.size:
        raise PlanError(f"{path} has {size} bytes, {expected.size} expected", hint=REBUILD)
    if record_file(path).sha256 != expected.sha256:
        raise PlanError(f"{path} has changed since it was built", hint=REBUILD)
