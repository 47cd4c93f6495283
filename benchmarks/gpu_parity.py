"""Whether an engine's greedy tokens are those of a reference, where that is sure of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from llmasos.engine.plan import EnginePlan
from llmasos.text.tokenizer import Tokenizer
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.architectures.tensors import load_tensor
from llmasos_builder.checkpoint import fp8_scales_of, open_checkpoint
from llmasos_builder.tensorrt.compile import define_network
from llmasos_builder.tensorrt.interpreter import InterpretedNetwork, Row
from llmasos_builder.tensorrt.library import load_library
from llmasos_builder.tensorrt.options import COMPUTE_TYPES, NetworkOptions
from llmasos_builder.tensorrt.verify import ALLOWED, ALLOWED_IN_FP8
from llmasos_runtime.engine.engine import Engine
from llmasos_runtime.openvino.load import load_openvino
from llmasos_runtime.options import EngineOptions
from llmasos_runtime.runner import ModelRunner
from llmasos_runtime.sampling.scores import Logits
from llmasos_runtime.sequences.step import Step
from numpy.typing import NDArray

from benchmarks.divergence import continuations, first_difference

Floats = NDArray[np.float32]
Prompts = Sequence[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Continuation:
    """Greedy tokens, and the logits that each was chosen from [tokens, vocab_size]."""

    token_ids: list[int]
    logits: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """same: tokens before the first other one, of total. lost: how much less likely that one is
    to the reference than its own, as a part of its largest logit; 0 without any.
    """

    name: str
    same: int
    total: int
    lost: float
    allowed: float

    @property
    def passed(self) -> bool:
        return self.lost <= self.allowed

    def __str__(self) -> str:
        verdict = "ok" if self.passed else "differs"
        return (
            f"{verdict:8}{self.name}: {self.same} of {self.total} tokens are the same; where they "
            f"part, {self.lost:.3%} of the largest logit, {self.allowed:.2%} allowed"
        )


def compare(
    name: str, given: Sequence[Sequence[int]], expected: Sequence[Continuation], *, allowed: float
) -> Parity:
    """What several prompts were continued with. After the first other token two texts go their
    own ways, so nothing behind it is compared.
    """
    same, lost = 0, 0.0
    for tokens, reference in zip(given, expected, strict=True):
        place = first_difference(reference.token_ids, tokens)
        same += len(tokens) if place is None else place
        if place is not None:
            row = reference.logits[place].astype(np.float64)
            missing = float(row.max() - row[tokens[place]]) / float(np.abs(row).max())
            lost = max(lost, missing)
    total = sum(map(len, given))
    return Parity(name=name, same=same, total=total, lost=lost, allowed=allowed)


def allowed_for(plan: EnginePlan) -> float:
    """Each of two logits may be off by as much as `llmasos verify` allows."""
    if plan.precision == "fp8":
        scales = fp8_scales_of(open_checkpoint(plan.checkpoint.source).weights)
        if any(scale.activation is not None for scale in scales.values()):
            return 2 * ALLOWED_IN_FP8
    return 2 * ALLOWED[COMPUTE_TYPES[plan.precision]]


class _Recorder:
    """A runner whose logits are kept. Of one sequence at a time."""

    def __init__(self, runner: ModelRunner) -> None:
        self._runner = runner
        self.capabilities = replace(runner.capabilities, max_draft_tokens=0)
        self.rows: list[Floats] = []
        self._is_sampled = False

    def start(self, step: Step) -> None:
        self._is_sampled = bool(step.sampled)
        self._runner.start(step)

    def wait(self) -> Logits:
        scores = self._runner.wait()
        assert isinstance(scores, Logits)
        if self._is_sampled:
            self.rows.append(scores.rows[0].copy())
        return scores

    def close(self) -> None:
        self._runner.close()


def continued_on_cpu(plan_dir: Path, prompts: Prompts, num_tokens: int) -> list[Continuation]:
    """What the CPU engine of a plan in f32 says."""
    options = EngineOptions(reuse_prefixes=False)
    plan = EnginePlan.load(plan_dir)
    recorder = _Recorder(load_openvino(plan, plan_dir, options))
    engine = Engine.over(plan, Tokenizer.load(plan_dir), recorder, options)
    found: list[Continuation] = []
    try:
        for prompt in prompts:
            recorder.rows = []
            (tokens,) = continuations(engine, [prompt], num_tokens)
            found.append(Continuation(tokens, np.stack(recorder.rows)))
    finally:
        engine.close()
    return found


def continued_by_interpreter(
    plan: EnginePlan, prompts: Prompts, num_tokens: int
) -> list[Continuation]:
    """What the network that was compiled says, read back and computed in numpy."""
    assert plan.tensorrt is not None
    checkpoint = open_checkpoint(plan.checkpoint.source)
    longest = max(map(len, prompts))
    options = NetworkOptions(
        precision=plan.precision,
        max_batch_size=1,
        max_seq_len=longest + num_tokens,
        prefill_length=longest,
        full_logits=True,
    )
    graph = define_network(
        decoder_spec(checkpoint.config),
        lambda name, _: load_tensor(checkpoint.weights, name),
        library=load_library([plan.tensorrt.library]),
        options=options,
        fp8_scales=fp8_scales_of(checkpoint.weights),
    )
    model = InterpretedNetwork(graph.definition, graph.constants, num_slots=1)
    return [_interpreted(model, prompt, num_tokens) for prompt in prompts]


def _interpreted(
    model: InterpretedNetwork, prompt: tuple[int, ...], num_tokens: int
) -> Continuation:
    pending, num_computed = list(prompt), 0
    tokens: list[int] = []
    rows: list[Floats] = []
    while len(tokens) < num_tokens:
        row = Row(slot=0, num_computed_tokens=num_computed, token_ids=pending)
        rows.append(model.step([row])["logits"][0])
        num_computed += len(pending)
        pending = [int(rows[-1].argmax())]
        tokens += pending
    return Continuation(tokens, np.stack(rows))
