"""Verifies that a TensorRT engine's network computes what its checkpoint's network does.

The engine itself runs only on a GPU. The network that it was compiled from is built again from the
same checkpoint, for each rank if there are several, interpreted for a few steps, and compared
with the reference, which computes the network's definition in float64 with the same rounded
weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from llmasos.engine.engine_io import CANDIDATE_IDS, CANDIDATE_LOGITS, LOG_SUM_EXP, LOGITS
from llmasos.engine.plan import EnginePlan, Precision
from llmasos.engine.tensorrt_record import TensorRTRecord
from llmasos.errors import PlanError
from llmasos.progress import Progress
from numpy.typing import NDArray

from llmasos_builder.architectures import Decoder, decoder_spec
from llmasos_builder.architectures.tensors import check_tensors, load_tensor
from llmasos_builder.checkpoint import Checkpoint, Weights, fp8_scales_of, open_checkpoint
from llmasos_builder.tensorrt.compile import define_network
from llmasos_builder.tensorrt.interpreter import InterpretedNetwork, InterpretedRanks, Row
from llmasos_builder.tensorrt.library import load_library
from llmasos_builder.tensorrt.options import COMPUTE_TYPES, ComputeType, NetworkOptions
from llmasos_builder.tensorrt.parallel.rank import all_ranks
from llmasos_builder.tensorrt.rounded_reference import RoundedReference, uses_of

Logits = NDArray[np.float64]
# How far logits may be from the reference's, as a part of the largest of them.
ALLOWED: dict[ComputeType, float] = {"f32": 1e-3, "fp16": 3e-2, "bf16": 0.15}
# An activation that falls on the other side of a step of e4m3 moves by a whole one. In fp16 that
# happens everywhere, so that such networks are interpreted in f32, and now and then even so.
ALLOWED_IN_FP8 = 0.1
_EXACT = 1e-4
_SLOT_LENGTH = 32
_PROMPT_LENGTHS = (7, 5)
_DECODE_STEPS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A comparison: what was compared, the difference, and the limit."""

    name: str
    error: float
    allowed: float

    @property
    def passed(self) -> bool:
        return self.error <= self.allowed


@dataclass(slots=True, kw_only=True)
class _Sequence:
    """One sequence; seen: for each step its name, the number of tokens seen, and the logits."""

    token_ids: list[int]
    num_computed: int = 0
    seen: list[tuple[str, int, Logits]] = field(default_factory=list)

    def next_row(self, slot: int) -> Row:
        pending = self.token_ids[self.num_computed :]
        return Row(slot=slot, num_computed_tokens=self.num_computed, token_ids=pending)

    def commit(self, step: str, logits: Logits) -> None:
        self.num_computed = len(self.token_ids)
        self.seen.append((step, self.num_computed, logits))
        self.token_ids.append(int(logits.argmax()))


def verify(plan_dir: Path, progress: Progress) -> list[Check]:
    """Returns every comparison that was made.

    Raises PlanError if the plan is damaged or not TensorRT's, CheckpointError if its checkpoint
    cannot be read, InterpretationError if the network cannot be interpreted.
    """
    plan = EnginePlan.load(plan_dir)
    if plan.tensorrt is None:
        raise PlanError(f"{plan_dir} is built for {plan.target}, only tensorrt can be verified")
    checkpoint = _same_checkpoint(plan, progress)
    spec = decoder_spec(checkpoint.config).for_length(plan.limits.max_seq_len)
    check_tensors(spec, checkpoint.weights)
    options = NetworkOptions(
        precision=plan.precision,
        max_batch_size=len(_PROMPT_LENGTHS),
        max_seq_len=min(_SLOT_LENGTH, spec.max_position_embeddings),
        prefill_length=max(_PROMPT_LENGTHS),
        num_candidates=plan.tensorrt.num_candidates,
        full_logits=True,
    )
    weights = checkpoint.weights
    scales = fp8_scales_of(weights) if plan.precision == "fp8" else {}
    in_fp8 = any(scale.activation is not None for scale in scales.values())
    model = _interpreted(plan.tensorrt, spec, weights, options, progress, rounding=not in_fp8)
    sequences, of_candidates = _run(model, spec.vocab_size, progress)
    allowed = ALLOWED_IN_FP8 if in_fp8 else ALLOWED[options.compute_type]
    expected = _expected(spec, weights, plan.precision, sequences, progress)
    return [*_of_logits(sequences, expected, allowed), *of_candidates]


def _interpreted(
    record: TensorRTRecord,
    spec: Decoder,
    weights: Weights,
    options: NetworkOptions,
    progress: Progress,
    *,
    rounding: bool,
) -> InterpretedRanks:
    library = load_library([record.library])
    stages: list[list[InterpretedNetwork]] = [[] for _ in range(record.pipeline_parallel_size)]
    for rank in all_ranks(record.tensor_parallel_size, record.pipeline_parallel_size):
        progress("define the network", 0, 1)
        graph = define_network(
            spec,
            lambda name, _: load_tensor(weights, name),
            library=library,
            options=options,
            rank=rank,
            fp8_scales=fp8_scales_of(weights),
        )
        network = InterpretedNetwork(
            graph.definition,
            graph.constants,
            num_slots=options.max_batch_size,
            rounding=rounding,
            progress=lambda done, total: progress("read the network", done, total),
        )
        stages[rank.stage].append(network)
    return InterpretedRanks(stages)


def _same_checkpoint(plan: EnginePlan, progress: Progress) -> Checkpoint:
    recorded = plan.checkpoint
    checkpoint = open_checkpoint(recorded.source, revision=recorded.revision, progress=progress)
    progress("check", 0, 1)
    if checkpoint.sha256() != recorded.sha256:
        raise PlanError(
            f"the checkpoint {recorded.source} is not the one that {plan.name} was built "
            "from, its hash is another"
        )
    return checkpoint


def _run(
    model: InterpretedRanks, vocab_size: int, progress: Progress
) -> tuple[list[_Sequence], list[Check]]:
    """Runs a prefill, another beside a decoding row, and decoding of both."""
    rng = np.random.default_rng(0)
    sequences = [
        _Sequence(token_ids=rng.integers(0, vocab_size, length).tolist())
        for length in _PROMPT_LENGTHS
    ]
    steps = {"prefill": sequences[:1], "prefill beside decode": sequences}
    steps |= {f"decode {index + 1}": sequences for index in range(_DECODE_STEPS)}
    of_candidates: list[Check] = []
    for done, (step, active) in enumerate(steps.items()):
        progress("interpret", done, len(steps))
        outputs = model.step([sequence.next_row(slot) for slot, sequence in enumerate(active)])
        of_candidates = _of_candidates(outputs)
        for sequence, logits in zip(active, outputs[LOGITS], strict=True):
            sequence.commit(step, logits.astype(np.float64))
    return sequences, of_candidates


def _of_candidates(outputs: dict[str, NDArray[np.float32]]) -> list[Check]:
    """Compares the outputs that sampling uses with the logits of the same step."""
    logits = outputs[LOGITS].astype(np.float64)
    ids, found = outputs[CANDIDATE_IDS], outputs[CANDIDATE_LOGITS]
    best = -np.sort(-logits, axis=1)[:, : ids.shape[1]]
    apart = np.abs(np.take_along_axis(logits, ids.astype(np.int64), axis=1) - found).max()
    largest = logits.max(axis=1, keepdims=True)
    exact = np.log(np.exp(logits - largest).sum(axis=1, keepdims=True)) + largest
    scale = float(np.abs(logits).max())
    errors = {
        "candidates": max(float(np.abs(best - found).max()), float(apart)) / scale,
        "log_sum_exp": float(np.abs(exact - outputs[LOG_SUM_EXP]).max()) / scale,
    }
    return [Check(name=name, error=error, allowed=_EXACT) for name, error in errors.items()]


def _expected(
    spec: Decoder,
    weights: Weights,
    precision: Precision,
    sequences: Sequence[_Sequence],
    progress: Progress,
) -> list[Logits]:
    """The reference's logits after each token of each sequence."""
    uses, expected = uses_of(spec), list[Logits]()
    for done, sequence in enumerate(sequences):
        progress("compute the reference", done, len(sequences))
        ids = np.array([sequence.token_ids], np.int64)
        graph = RoundedReference(
            ids, uses, COMPUTE_TYPES[precision], fp8_scales=fp8_scales_of(weights)
        )
        spec.define(graph, lambda name, _: load_tensor(weights, name), precision=precision)
        expected.append(graph.logits[0])
    return expected


def _of_logits(
    sequences: Sequence[_Sequence], expected: Sequence[Logits], allowed: float
) -> list[Check]:
    errors: dict[str, float] = {}
    lost = 0.0
    for sequence, reference in zip(sequences, expected, strict=True):
        for step, count, logits in sequence.seen:
            own = reference[count - 1]
            scale = float(np.abs(own).max())
            error = float(np.abs(logits - own).max()) / scale
            # Unlike max, np.maximum keeps a NaN.
            errors[step] = float(np.maximum(errors.get(step, 0.0), error))
            lost = max(lost, float(own.max() - own[sequence.token_ids[count]]) / scale)
    checks = [
        Check(name=f"logits of {step}", error=error, allowed=allowed)
        for step, error in errors.items()
    ]
    # A token that is not the reference's best may be within twice the error of it.
    return [*checks, Check(name="greedy tokens", error=lost, allowed=2 * allowed)]
