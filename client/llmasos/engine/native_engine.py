"""What the builder and the runtime both know of a native engine: its files, layouts and arguments.

A native engine is two files. The weights' file holds what the step reads, each part at a
multiple of 64 bytes; it begins with int64 numbers, those of `FileField` and then those of
`LayerField` for each layer. They are offsets into the file, 0 where there is no such part. The
code's file is machine code for one kind of processor: one function, which every thread of the
engine calls with an int64 array of numbers and addresses (`StepField`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, auto

from pydantic import BaseModel, ConfigDict, Field

FORMAT = 4
"""Of these files and arguments. A plan of another number must be built again."""
WEIGHTS_FILE = "weights.bin"
STEP_SYMBOL = "llmasos_native_step"
"""The function in the code's file."""
ALIGNMENT = 64
BLOCK_SIZE = 32
"""Tokens of one block of the KV cache."""
GROUP = 64
"""Neighbours of a row of activations, or of an int4 row of weights, that share a scale."""
COLUMNS = 32
"""Rows of a weight matrix that the kernel takes at once; they are columns of its output."""
MAX_ROWS = 512
"""Most tokens of one pass through the network; a larger step takes several passes."""
ROWS_ALONE = 4
"""Up to so many rows each thread normalizes for itself, instead of waiting for the others."""
HEAD_BLOCKS = 16
"""Blocks of the vocabulary's columns that a thread computes before it looks for the largest."""
BEST_BYTES = 192
"""Of one sampled row and one thread: its largest logits, their ids, and what is not finite."""


class NativeCode(BaseModel):
    """Machine code for one kind of processor: its file, and the name of the function in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    symbol: str


class NativeRecord(BaseModel):
    """What a plan for target native says besides.

    code: by the kind of processor (`CPU_KINDS`). num_heads: of queries. norm_eps: of every norm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    code: dict[str, NativeCode] = Field(min_length=1)
    hidden_size: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    num_heads: int = Field(ge=1)
    norm_eps: float = Field(gt=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CPUKind:
    """Processors that run the same machine code.

    flags: the instructions that it may use, as Linux lists them. llvm_cpu, llvm_features: the
    same for LLVM.
    """

    flags: tuple[str, ...]
    llvm_cpu: str
    llvm_features: str


_AVX2 = ("avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe")
CPU_KINDS = {
    "avx512-vnni": CPUKind(
        flags=(
            *_AVX2,
            *("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni"),
        ),
        llvm_cpu="x86-64-v4",
        llvm_features="+avx512vnni,-prefer-256-bit",
    ),
    "avx-vnni": CPUKind(flags=(*_AVX2, "avx_vnni"), llvm_cpu="x86-64-v3", llvm_features="+avxvnni"),
    "avx2": CPUKind(flags=_AVX2, llvm_cpu="x86-64-v3", llvm_features=""),
}


def padded(size: int, multiple: int = GROUP) -> int:
    """The size as the kernels see it; what is added is zero everywhere and changes nothing."""
    return -(-size // multiple) * multiple


@dataclass(frozen=True, slots=True)
class KVBlock:
    """One block of the KV cache: 32 tokens of one head, whose size is padded to groups of 64.

        0             keys as unsigned bytes, [head size / 4][32 tokens][4 dimensions]
        values        values as signed bytes, [8][head size][4 tokens]
        key_scales    f32 of each token
        value_scales  f32 of each token
        key_offsets   f32 of each token: the least number of its key

    Dimensions that lie together in 4 bytes are i, i + 16, i + 32 and i + 48 of 64; tokens are
    j, j + 16, j + 8 and j + 24: so each comes from a lane of its own vector.
    """

    head: int

    @property
    def values(self) -> int:
        return BLOCK_SIZE * self.head

    @property
    def key_scales(self) -> int:
        return 2 * BLOCK_SIZE * self.head

    @property
    def value_scales(self) -> int:
        return self.key_scales + 4 * BLOCK_SIZE

    @property
    def key_offsets(self) -> int:
        return self.value_scales + 4 * BLOCK_SIZE

    @property
    def num_bytes(self) -> int:
        return self.key_offsets + 4 * BLOCK_SIZE


@dataclass(frozen=True, slots=True)
class AttentionScratch:
    """Memory of one thread that attends with `query_heads` heads which share one of the keys.

    queries     of each: its bytes by quads of dimensions, then scale * sum and scale in f32
    shares      of each: 32 probabilities of a block as bytes, then their scale in f32
    most        f32 of each: its largest score
    totals      of each: 16 partial sums of its probabilities
    rotated     one head in f32
    outputs     of each: one head in f32
    scores      of each: f32 of every token up to max_seq_len
    """

    head: int
    query_heads: int

    @property
    def query_bytes(self) -> int:
        return self.head + 64

    @property
    def shares(self) -> int:
        return self.query_heads * self.query_bytes

    @property
    def most(self) -> int:
        return self.shares + 64 * self.query_heads

    @property
    def totals(self) -> int:
        return self.most + 64 * self.query_heads

    @property
    def rotated(self) -> int:
        return self.totals + 64 * self.query_heads

    @property
    def outputs(self) -> int:
        return self.rotated + 4 * self.head

    @property
    def scores(self) -> int:
        return self.outputs + 4 * self.head * self.query_heads

    def num_bytes(self, max_seq_len: int) -> int:
        return self.scores + 4 * self.query_heads * padded(max_seq_len, BLOCK_SIZE)


class FileField(IntEnum):
    """Offsets at the beginning of the weights' file. The head may be the embedding.

    FINAL_NORM_BIAS: of a LayerNorm. POSITION_TABLE: learned positions, f32 [max_seq_len][hidden].
    """

    EMBEDDING = 0
    EMBEDDING_SCALE = auto()
    HEAD = auto()
    HEAD_SCALE = auto()
    FINAL_NORM = auto()
    FINAL_NORM_BIAS = auto()
    POSITION_TABLE = auto()
    EMBEDDING_NORM = auto()
    EMBEDDING_NORM_BIAS = auto()


class LayerField(IntEnum):
    """Parts of one layer; a matrix has a scale for each row (int8) or group (int4).

    ROPE: [max_seq_len][head size] f32, the cosines of a position's angles and then their sines.
    SCORE_SCALE: no offset but the bits of an f32, by which scores are multiplied. WINDOW: no
    offset either, but the number of tokens that each token sees, 0 for all before it.
    GATE_UP: up alone in an MLP without a gate. ATTENTION_OUTPUT_NORM, MLP_OUTPUT_NORM: of what a
    part adds. SLOPES: ALiBi's, f32 of each query head.
    """

    ATTENTION_NORM = 0
    QKV = auto()
    QKV_SCALE = auto()
    QKV_BIAS = auto()
    QUERY_NORM = auto()
    KEY_NORM = auto()
    ROPE = auto()
    SCORE_SCALE = auto()
    OUTPUT = auto()
    OUTPUT_SCALE = auto()
    OUTPUT_BIAS = auto()
    MLP_NORM = auto()
    GATE_UP = auto()
    GATE_UP_SCALE = auto()
    GATE_UP_BIAS = auto()
    DOWN = auto()
    DOWN_SCALE = auto()
    DOWN_BIAS = auto()
    ATTENTION_NORM_BIAS = auto()
    MLP_NORM_BIAS = auto()
    WINDOW = auto()
    ATTENTION_OUTPUT_NORM = auto()
    ATTENTION_OUTPUT_NORM_BIAS = auto()
    MLP_OUTPUT_NORM = auto()
    MLP_OUTPUT_NORM_BIAS = auto()
    SLOPES = auto()
