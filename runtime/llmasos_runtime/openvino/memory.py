"""What an engine on the CPU will take of the memory, said before it is loaded.

OpenVINO maps the file of the weights, and reads all of it once; those pages count as resident,
though the system may drop them when memory is short. Each matrix is packed anew for the
processor's kernels, most of them in the first step, and that copy is what the kernels read. In
f32 the last matrix of a narrow MLP is packed in two ways, for few rows and for many.

Activations are buffers that grow to the largest step and stay: which ones was read from the
allocations of three networks of 4 to 30 layers in f32, bf16 and int8, and is the same in all.
What code and graph take was measured (`python -m benchmarks.memory`).
"""

from __future__ import annotations

from llmasos.engine.engine_io import (
    ENCODER_WEIGHTS_FILE,
    OPENVINO_BLOCK_SIZE,
    OPENVINO_WEIGHTS_FILE,
)
from llmasos.engine.network_sizes import NetworkSizes
from llmasos.engine.plan import EnginePlan, KVCachePrecision, Limits, Precision
from llmasos.openvino_import import ov

from llmasos_runtime.machine.memory_need import NUMBER_BYTES, MemoryNeed
from llmasos_runtime.openvino.microbatches import (
    MAX_GATHERED_TOKENS,
    MAX_MICROBATCH_LENGTH,
    MAX_MICROBATCH_SCORES,
)
from llmasos_runtime.openvino.paged_model import computed_in

_SCALE_BYTES = 8
"""A scale and a zero point in f32 for each group of numbers that shares them in a u8 block."""
_HIDDEN_BUFFERS = 3
_WIDE_BUFFERS = 5
"""Buffers of all tokens of a step that OpenVINO keeps, in the compute type, as wide as a hidden
state or as the widest tensor of a layer.
"""
_SCORE_BUFFERS = 8
"""Buffers of a microbatch's scores, in the compute type, where scores have a soft cap."""
_QUANTIZED_BYTES = 1 + 2 * 4 / 64
"""Bytes for each number of the widest tensor, quantized for an int8 or int4 matrix: the number
itself, and a scale and a sum in f32 for each group of 64.
"""
_OUTGROWN = 0.5
"""Fraction of a buffer still held by the smaller buffers it outgrew. About half on average, and
from a tenth to all of it in single runs.
"""
_GIVEN_BACK = 32 * 2**20
"""From this size on, glibc's allocator returns freed memory to the system at once."""
_NARROW = 1024
"""Hidden sizes up to this one were seen to pack the MLP's last f32 matrix in two ways."""
_UNQUANTIZED = frozenset({"f32", "bf16"})
_FIXED_BYTES = 35 * 10**6
_BYTES_PER_LAYER = 10**6
_BYTES_PER_TOKEN_NAME = 350
"""Bytes in the tokenizer for each token of the vocabulary."""


def plan_need(plan: EnginePlan, sizes: NetworkSizes) -> MemoryNeed:
    """The memory of a built plan for CPUs; sizes: those of its network in its precision."""
    return openvino_need(
        sizes,
        plan.limits,
        precision=plan.precision,
        compute=here_computed_in(plan.precision, plan.kv_cache_precision),
        kv_cache=plan.kv_cache_precision,
        engine_bytes=sum(
            plan.files[name].size
            for name in (OPENVINO_WEIGHTS_FILE, ENCODER_WEIGHTS_FILE)
            if name in plan.files
        ),
    )


def here_computed_in(precision: Precision, kv_cache: KVCachePrecision) -> KVCachePrecision:
    """The compute type of an engine on this machine's CPU: bf16 or f32."""
    capabilities = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return computed_in(precision, kv_cache, capabilities)


def openvino_need(
    sizes: NetworkSizes,
    limits: Limits,
    *,
    precision: Precision,
    compute: KVCachePrecision,
    kv_cache: KVCachePrecision,
    engine_bytes: int | None = None,
) -> MemoryNeed:
    """The memory of an engine on the CPU.

    precision: type of the weights. compute: compute type, f32 or bf16. kv_cache: u8, or anything
    else for the compute type. engine_bytes: size of the weights' file, if it exists.
    """
    is_twice = precision == "f32" and sizes.hidden_size <= _NARROW
    twice = sizes.mlp_output_bytes if is_twice else 0
    return MemoryNeed(
        mapped=engine_bytes or sizes.weight_bytes,
        packed=sizes.matrix_bytes + twice,
        activations=sum(map(_grown, _buffers(sizes, limits, precision, compute))),
        overhead=_FIXED_BYTES
        + _BYTES_PER_LAYER * sizes.num_layers
        + _BYTES_PER_TOKEN_NAME * sizes.vocab_size,
        block_size=OPENVINO_BLOCK_SIZE,
        block_bytes=openvino_block_bytes(sizes, compute=compute, kv_cache=kv_cache),
        texts_each=2 if sizes.has_encoder else 1,
    )


def _buffers(
    sizes: NetworkSizes, limits: Limits, precision: Precision, compute: KVCachePrecision
) -> list[int]:
    """Bytes of each buffer that a step of max_num_tokens needs.

    Attention keeps a reordered copy of the keys and values that it reads, up to a whole prompt.
    Logits are in f32. With a soft cap a step runs in microbatches, and their scores are kept.
    """
    num_tokens, read = limits.max_num_tokens, max(limits.max_num_tokens, limits.max_seq_len)
    width, num_scores = NUMBER_BYTES[compute], 0
    if sizes.num_soft_capped_heads:
        num_tokens = min(num_tokens, max(MAX_MICROBATCH_LENGTH, limits.max_batch_size))
        num_scores = sizes.num_soft_capped_heads * min(MAX_MICROBATCH_SCORES, num_tokens * read)
        gathered = min(MAX_GATHERED_TOKENS, limits.max_batch_size * limits.max_seq_len)
        read = max(limits.max_seq_len, gathered)
    hidden, widest = (num_tokens * width * numbers for numbers in (sizes.hidden_size, sizes.widest))
    keys = read * width * sizes.num_kv_heads * sizes.head_size
    logits = 4 * sizes.vocab_size * min(limits.max_batch_size, limits.max_num_tokens)
    buffers = [*[hidden] * _HIDDEN_BUFFERS, *[widest] * _WIDE_BUFFERS, keys, keys, logits]
    buffers += [num_scores * width] * _SCORE_BUFFERS
    quantized = int(_QUANTIZED_BYTES * num_tokens * sizes.widest)
    return buffers if precision in _UNQUANTIZED else [*buffers, quantized]


def _grown(size: int) -> int:
    """The memory of a buffer that reached its size step by step."""
    return size if size > _GIVEN_BACK else int((1 + _OUTGROWN) * size)


def openvino_block_bytes(
    sizes: NetworkSizes, *, compute: KVCachePrecision, kv_cache: KVCachePrecision
) -> int:
    """The bytes of a KV block over all layers, [KV heads, tokens, head size] of keys and of values.

    In u8 the keys of a column of the block share a scale and a zero point, and so do the values of
    a row.
    """
    tokens, width = OPENVINO_BLOCK_SIZE, sizes.head_size
    if kv_cache == "u8":
        each = 2 * tokens * width + _SCALE_BYTES * (tokens + width)
    else:
        each = 2 * tokens * width * NUMBER_BYTES[compute]
    return sizes.num_layers * sizes.num_kv_heads * each
