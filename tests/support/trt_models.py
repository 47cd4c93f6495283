"""Networks for TensorRT, computed by the interpreter, with sequences that come and go."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
from llmasos.engine.plan import Precision
from llmasos_builder.architectures.decoder.decoder import define_decoder
from llmasos_builder.checkpoint import Weights
from llmasos_builder.tensorrt.constants import numpy_type
from llmasos_builder.tensorrt.interpreter import InterpretedNetwork, Row
from llmasos_builder.tensorrt.network import TensorRTGraph
from llmasos_builder.tensorrt.options import COMPUTE_TYPES, NetworkOptions
from llmasos_builder.tensorrt.quantization import dequantize, quantize
from parity import Logits, Network

trt: Any = pytest.importorskip("tensorrt_rtx")

MAX_SEQ_LEN = 64
NUM_SLOTS = 3
PRECISIONS: tuple[Precision, ...] = ("f32", "fp16", "bf16", "int8", "int4", "fp8", "nvfp4")
_TIMES_LOST = 5  # what rounding elsewhere may make of the same chaos
TORCH_TYPES: dict[str, Any] = {
    "f32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


def options(precision: Precision, **changes: Any) -> NetworkOptions:
    sizes: dict[str, Any] = {
        "max_batch_size": NUM_SLOTS,
        "max_seq_len": MAX_SEQ_LEN,
        "prefill_length": 32,
        "num_candidates": 16,
        "full_logits": True,
    }
    return NetworkOptions(precision=precision, **sizes | changes)


def defined(
    network: Network,
    precision: Precision,
    graph: TensorRTGraph | None = None,
    weights: Weights | None = None,
) -> TensorRTGraph:
    """The network on TensorRT's interface; graph: what to define it on, if not a plain one."""
    graph = graph or TensorRTGraph(trt, options(precision))
    load = (weights or network.weights).load
    define_decoder(network.spec, graph, lambda name, _: load(name), precision=precision)
    return graph


def engine(graph: TensorRTGraph, *, rounding: bool = True) -> InterpretedNetwork:
    return InterpretedNetwork(
        graph.definition, graph.constants, num_slots=NUM_SLOTS, rounding=rounding
    )


def with_blocks(config: Any) -> Any:
    """The same network with an MLP whose width divides into blocks of weights."""
    config = copy.deepcopy(config)
    for name in ("n_inner", "intermediate_size", "ffn_dim", "ffn_hidden_size"):
        if hasattr(config, name):
            setattr(config, name, 96)
    return config


def with_rounded_weights(network: Network, precision: Precision) -> Network:
    """transformers' network with just what an engine has left of its weights and tables."""
    oracle = copy.deepcopy(network.oracle)
    compute = COMPUTE_TYPES[precision]
    kind = TORCH_TYPES[compute]
    tables = {id(m.weight) for m in oracle.modules() if isinstance(m, torch.nn.Embedding)}
    transposed = {id(m.weight) for m in oracle.modules() if type(m).__name__ == "Conv1D"}
    exact = {id(m.weight) for m in oracle.modules() if type(m).__name__.endswith("RMSNorm")}
    for name, parameter in oracle.named_parameters():
        if id(parameter) in exact:  # RMSNorm is in f32, weight included
            continue
        values = parameter.detach().numpy()
        if parameter.ndim == 1 or id(parameter) in tables or precision in TORCH_TYPES:
            rounded = values.astype(numpy_type(compute)).astype(np.float32)
        else:
            turned = values.T if id(parameter) in transposed else values
            matrix = quantize(name, np.ascontiguousarray(turned), precision, compute)  # type: ignore[arg-type]
            rounded = dequantize(matrix, compute)
            rounded = rounded.T if id(parameter) in transposed else rounded
        with torch.no_grad():
            parameter.copy_(torch.tensor(np.ascontiguousarray(rounded)))
    for module in oracle.modules():
        if type(module).__name__.endswith("RotaryEmbedding"):
            module.register_forward_hook(
                lambda module, _inputs, tables: tuple(_in(kind, x, module) for x in tables)
            )
    return Network(network.spec, network.weights, oracle)


def _in(kind: torch.dtype, table: torch.Tensor, module: Any) -> torch.Tensor:
    """Cosines or sines rounded to a type; an engine scales scores by their factor instead."""
    factor = getattr(module, "attention_scaling", 1.0)
    return (table / factor).to(kind).to(table.dtype) * factor


def in_type(network: Network, precision: Precision) -> Network:
    """transformers' network, computing in the type that an engine computes in."""
    kind = TORCH_TYPES[COMPUTE_TYPES[precision]]
    return Network(network.spec, network.weights, copy.deepcopy(network.oracle).to(kind))


@dataclass
class Sequence_:  # noqa: N801 - a Sequence is something else in Python
    """One sequence; seen: logits by how many of its tokens they follow."""

    slot: int
    joins: int
    chunks: tuple[int, ...]
    num_new: int
    token_ids: list[int] = field(default_factory=list)
    num_computed: int = 0
    seen: dict[int, Logits] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return len(self.token_ids) == sum(self.chunks) + self.num_new

    def next_row(self) -> Row:
        ends = [*np.cumsum(self.chunks).tolist(), *range(sum(self.chunks), 1000)]
        end = next(e for e in ends if e > self.num_computed)
        pending = self.token_ids[self.num_computed : end]
        return Row(slot=self.slot, num_computed_tokens=self.num_computed, token_ids=pending)

    def commit(self, row: Row, logits: Logits) -> None:
        self.num_computed += len(row.token_ids)
        self.seen[self.num_computed] = logits
        if self.num_computed == len(self.token_ids):
            self.token_ids.append(int(logits.argmax()))


def sequences(vocabulary: int, *, scale: int = 1) -> list[Sequence_]:
    """The second joins while the first decodes and leaves from the middle; its slot is used
    again while both of its neighbours run."""
    plans = [
        Sequence_(slot=0, joins=0, chunks=(9,), num_new=20 * scale),
        Sequence_(slot=1, joins=2, chunks=(6, 8), num_new=5 * scale),
        Sequence_(slot=2, joins=3, chunks=(4,), num_new=14 * scale),
        Sequence_(slot=1, joins=12, chunks=(7,), num_new=6 * scale),
    ]
    rng = np.random.default_rng(1)
    for plan in plans:
        plan.token_ids = rng.integers(0, vocabulary, sum(plan.chunks)).tolist()
    return plans


def run_in_flight(
    model: InterpretedNetwork, plans: Sequence[Sequence_], *, idle_rows: bool = False
) -> None:
    """Greedy tokens of every sequence; idle_rows: free slots below a used one take part."""
    step = 0
    while not all(plan.finished for plan in plans):
        active = [plan for plan in plans if plan.joins <= step and not plan.finished]
        active.sort(key=lambda plan: plan.slot)
        rows = {plan.slot: plan.next_row() for plan in active}
        assert len(rows) == len(active), "a slot has two owners"
        if idle_rows:
            for slot in range(max(rows, default=0)):
                idle = Row(slot=slot, num_computed_tokens=0, token_ids=[0])
                rows.setdefault(slot, idle)
        ordered = sorted(rows)
        if ordered:
            logits = model.step([rows[slot] for slot in ordered])["logits"]
            for plan in active:
                plan.commit(rows[plan.slot], logits[ordered.index(plan.slot)].astype(np.float64))
        step += 1


def check_in_flight(
    model: InterpretedNetwork,
    network: Network,
    *,
    tolerance: float = 3e-4,
    rounded: Network | None = None,
    idle_rows: bool = False,
) -> None:
    """Fails where logits or greedy tokens are not those of transformers.

    tolerance: of the largest logit. rounded: transformers' network in the engine's type; what
    it loses itself, several times over, is then allowed too. A token may differ only where
    the reference's margin is within what is allowed.
    """
    plans = sequences(network.spec.vocab_size)
    run_in_flight(model, plans, idle_rows=idle_rows)
    assert len({token for plan in plans for token in plan.token_ids}) >= 20, "too dull a text"
    expected = _all_logits(network, plans)
    if rounded is not None:
        lost = _all_logits(rounded, plans)
        pairs = list(zip(lost, expected, strict=True))
        tolerance += _TIMES_LOST * max(_error(a, b).max() for a, b in pairs)
    for plan, logits in zip(plans, expected, strict=True):
        _check_sequence(plan, logits, tolerance)


def _all_logits(network: Network, plans: Sequence[Sequence_]) -> list[Logits]:
    """Of each sequence; padding on the right changes nothing before it."""
    longest = max(len(plan.token_ids) for plan in plans)
    padded = [plan.token_ids + [0] * (longest - len(plan.token_ids)) for plan in plans]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small only wait for a second one
    with torch.no_grad():
        logits: Logits = network.oracle(torch.tensor(padded)).logits.double().numpy()
    torch.set_num_threads(threads)
    return [own[: len(plan.token_ids)] for own, plan in zip(logits, plans, strict=True)]


def _error(actual: Logits, expected: Logits) -> Logits:
    """Of each row, as a part of its largest logit."""
    error: Logits = np.abs(actual - expected).max(axis=-1) / np.abs(expected).max(axis=-1)
    return error


def _check_sequence(plan: Sequence_, expected: Logits, tolerance: float) -> None:
    for count, logits in plan.seen.items():
        own = expected[count - 1]
        error = float(_error(logits, own))
        assert error < tolerance, f"logits differ by {error:.1e}, {tolerance:.1e} allowed"
        if sum(plan.chunks) <= count < len(plan.token_ids):
            second, first = np.sort(own)[-2:]
            close = first - second <= 2 * tolerance * np.abs(own).max()
            assert close or plan.token_ids[count] == own.argmax(), "another greedy token"
