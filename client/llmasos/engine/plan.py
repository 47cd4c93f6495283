"""The engine plan: what the builder writes and the runtime reads.

A plan is a directory: ``plan.json``, the compiled engine, the tokenizer. The
builder and the runtime never import each other; this typed, versioned manifest
is all that they share.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from typing_extensions import Self

from llmasos.engine.encoder_decoder_record import EncoderDecoderRecord
from llmasos.engine.encoder_record import EncoderRecord
from llmasos.engine.native_engine import NativeRecord
from llmasos.engine.plan_files import REBUILD, FileRecord, check_files
from llmasos.engine.tensorrt_record import TensorRTRecord
from llmasos.engine.weight_format import Precision as Precision  # noqa: PLC0414
from llmasos.engine.weight_format import StoredWeights
from llmasos.errors import PlanError
from llmasos.files.regular_file import is_there, read_regular

PLAN_FILE = "plan.json"
PLAN_VERSION = 2
MAX_PLAN_BYTES = 16 << 20

Task = Literal["generate", "embed", "classify", "classify_tokens", "fill_mask"]
"""What an engine does with a text: generate continues it, embed makes one vector of it, classify
gives it a label or a score, classify_tokens labels each token, fill_mask fills gaps in it.
"""
Target = Literal["openvino", "native", "tensorrt", "tensorrt-llm"]
KVCachePrecision = Literal["f32", "fp16", "bf16", "u8"]
PRECISIONS: Mapping[Target, tuple[Precision, ...]] = {
    "openvino": ("f32", "bf16", "int8", "int4"),
    "native": ("int8", "int4"),
    "tensorrt": ("f32", "fp16", "bf16", "int8", "int4", "fp8", "nvfp4"),
    "tensorrt-llm": ("f32", "fp16", "bf16", "fp8"),
}
"""The weight precisions that each target supports."""


def _inside(name: str) -> str:
    """Returns a relative path after checking that it stays inside the plan's directory."""
    path = PurePosixPath(name)
    if "\\" in name or "\0" in name or str(path) != name or path.is_absolute():
        raise ValueError(f"{name!r} is not a plain relative path")
    if name in {"", ".", PLAN_FILE} or ".." in path.parts:
        raise ValueError(f"{name!r} is not a file inside the plan")
    return name


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Record):
    """The limits of one engine.

    max_batch_size: sequences in one step. max_num_tokens: tokens in one step.
    max_seq_len: prompt and output tokens of one sequence.
    """

    max_batch_size: int = Field(default=64, ge=1)
    max_num_tokens: int = Field(default=2048, ge=1)
    max_seq_len: int = Field(ge=2)


class CheckpointRecord(_Record):
    """The source of the weights; sha256 covers the checkpoint's files.

    revision: the revision of a hub id, if the build was given one.
    """

    source: str
    revision: str | None = None
    sha256: str


class TensorRTLLMRecord(_Record):
    """The checkpoint from which TensorRT-LLM makes an engine each time the plan is loaded.

    directory: its absolute path on the machine that runs it. files: its files that must not
    change.
    """

    directory: str = Field(pattern=r"^/")
    files: dict[Annotated[str, AfterValidator(_inside)], FileRecord] = Field(min_length=1)


class EnginePlan(_Record):
    """Everything the runtime must know about an engine before it loads it.

    task: what the network does. precision: the short name of the format that weights are stored
    in. weights: that format, and the method that found codes and scales.
    int8_matrices: the matrices of an int4 engine that are stored in int8.
    num_layers, num_kv_heads, head_size: sizes of the KV cache; 0 if the network has none.
    encoder: set for every task but generate. encoder_decoder: set if the network that generates
    attends to an encoder.
    native, tensorrt, tensorrt_llm: set if that is the target.
    """

    version: int
    name: str
    task: Task = "generate"
    target: Target
    architecture: str
    precision: Precision
    weights: StoredWeights
    int8_matrices: tuple[str, ...] = ()
    kv_cache_precision: KVCachePrecision
    deterministic: bool
    limits: Limits
    vocab_size: int = Field(ge=1)
    num_layers: int = Field(ge=0)
    num_kv_heads: int = Field(ge=0)
    head_size: int = Field(ge=0)
    eos_token_ids: tuple[int, ...]
    checkpoint: CheckpointRecord
    built_with: dict[str, str]
    encoder: EncoderRecord | None = None
    encoder_decoder: EncoderDecoderRecord | None = None
    native: NativeRecord | None = None
    tensorrt: TensorRTRecord | None = None
    tensorrt_llm: TensorRTLLMRecord | None = None
    files: dict[Annotated[str, AfterValidator(_inside)], FileRecord]

    @model_validator(mode="after")
    def _target_and_its_record(self) -> Self:
        for target in ("native", "tensorrt", "tensorrt-llm"):
            field = target.replace("-", "_")
            record = getattr(self, field)
            if (self.target == target) != (record is not None):
                raise ValueError(f"target {self.target} does not go with {field} {record}")
        return self

    @model_validator(mode="after")
    def _precision_and_its_format(self) -> Self:
        kind = self.weights.format.kind
        if kind != self.precision:
            raise ValueError(f"precision {self.precision} does not go with weights in {kind}")
        return self

    @model_validator(mode="after")
    def _cache_of_what_generates(self) -> Self:
        sizes = (self.num_layers, self.num_kv_heads, self.head_size)
        if 0 in sizes and (any(sizes) or self.task == "generate"):
            raise ValueError(f"task {self.task} does not go with a KV cache of the sizes {sizes}")
        return self

    @model_validator(mode="after")
    def _task_and_its_record(self) -> Self:
        if (self.task == "generate") != (self.encoder is None):
            raise ValueError(f"task {self.task} does not go with encoder {self.encoder}")
        if self.task != "generate" and self.encoder_decoder is not None:
            raise ValueError(f"task {self.task} does not go with encoder_decoder")
        return self

    def check_task(self, task: Task) -> None:
        """Raise PlanError for a plan that was built for another task."""
        if self.task != task:
            raise PlanError(
                f"{self.name} is built for the task {self.task}, and the task asked of it is {task}"
            )

    @classmethod
    def load(cls, directory: Path | str) -> EnginePlan:
        """Reads ``plan.json`` and checks every file it lists; raises PlanError."""
        directory = Path(directory)
        plan = cls.read(directory)
        check_files(directory, plan.files)
        return plan

    @classmethod
    def read(cls, directory: Path | str) -> EnginePlan:
        """Read ``plan.json`` alone, without checking the files beside it."""
        path = Path(directory) / PLAN_FILE
        if not is_there(path, error=PlanError):
            raise PlanError(f"{path} does not exist", hint=REBUILD)
        text = read_regular(path, at_most=MAX_PLAN_BYTES, error=PlanError)
        try:
            version = _Version.model_validate_json(text).version
            if version != PLAN_VERSION:
                raise PlanError(
                    f"{path} has version {version}, this release reads {PLAN_VERSION}", hint=REBUILD
                )
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise PlanError(f"{path}: {_explain(error)}", hint=REBUILD) from error

    @property
    def samples_from_all_logits(self) -> bool:
        """False for a TensorRT engine that returns the likeliest alone, and for TensorRT-LLM."""
        if self.tensorrt is not None:
            return self.tensorrt.full_logits or self.tensorrt.num_candidates >= self.vocab_size
        return self.tensorrt_llm is None

    def write(self, directory: Path) -> None:
        """Write ``plan.json`` into a directory that holds the files it lists."""
        part = directory / f".{PLAN_FILE}.part"
        part.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        part.replace(directory / PLAN_FILE)


class _Version(BaseModel):
    version: int


def _explain(error: ValidationError) -> str:
    """Describes the first problem in one line, with the field and the value."""
    first: Any = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "[key]") or "the file"
    if first["type"] == "extra_forbidden":
        return f"{where} is a field that this release does not know"
    if first["type"] == "missing":
        return f"{where} is missing"
    if first["type"] in {"json_invalid", "model_type"}:
        return f"{where}: {first['msg']}"
    return f"{where}: {first['msg']}, got {first['input']!r}"
