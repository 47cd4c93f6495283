"""A Triton model configuration as a value, and the text of its config.pbtxt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from llmasos.contract.tensor import Tensor

GENERATED = "Written by `python -m llmasos.contract`; change the table there."
MAX_ROWS = 64
BATCH = (
    "max_batch_size is Triton's: the rows of one request, not the engine's batch (plan.json).",
    "A request has one row. More are let in to be refused with an error that says so: what",
    "Triton 2.51 refuses by itself here keeps it from ending cleanly.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One model of an ensemble. inputs, outputs: its tensor -> the ensemble's tensor."""

    model_name: str
    inputs: dict[str, str]
    outputs: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What config.pbtxt says. A model with steps is an ensemble, any other runs in Python.

    max_batch_size: the most requests, or rows, of one call by Triton; not the engine's batch.
    max_queue_delay_us: how long requests wait for others to share a call; None is one a call.
    comment: printed above it, one line an element.
    """

    name: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    comment: tuple[str, ...] = ()
    decoupled: bool = False
    max_queue_delay_us: int | None = None
    parameters: dict[str, str] = field(default_factory=dict[str, str])
    steps: tuple[Step, ...] = ()

    def pbtxt(self) -> str:
        """The configuration in protobuf's text format."""
        sections = (
            _header(self),
            _transaction_policy(self),
            _tensors("input", self.inputs),
            _tensors("output", self.outputs),
            _ensemble_scheduling(self.steps),
            _dynamic_batching(self),
            _parameters(self.parameters),
            _instance_group(self),
        )
        return "\n".join(section for section in sections if section)


def _header(config: ModelConfig) -> str:
    kind = 'platform: "ensemble"' if config.steps else 'backend: "python"'
    comment = "".join(f"# {line}\n" for line in config.comment)
    name = _quote(config.name)
    return f"{comment}name: {name}\n{kind}\nmax_batch_size: {config.max_batch_size}\n"


def _transaction_policy(config: ModelConfig) -> str:
    return "model_transaction_policy { decoupled: true }\n" if config.decoupled else ""


def _tensors(kind: Literal["input", "output"], tensors: tuple[Tensor, ...]) -> str:
    return "".join(f"{kind} {{ {_tensor(kind, tensor)} }}\n" for tensor in tensors)


def _tensor(kind: Literal["input", "output"], tensor: Tensor) -> str:
    parts = [f"name: {_quote(tensor.name)}", f"data_type: {tensor.type.value}"]
    parts.append(f"dims: [ {', '.join(map(str, tensor.dims))} ]")
    if tensor.scalar:
        parts.append("reshape { shape: [ ] }")
    if kind == "input" and tensor.ragged:
        parts.append("allow_ragged_batch: true")
    if kind == "input" and tensor.optional:
        parts.append("optional: true")
    return " ".join(parts)


def _ensemble_scheduling(steps: tuple[Step, ...]) -> str:
    if not steps:
        return ""
    return "ensemble_scheduling {\n" + "".join(_step(step) for step in steps) + "}\n"


def _step(step: Step) -> str:
    lines = [f"    model_name: {_quote(step.model_name)}", "    model_version: -1"]
    lines += [_map("input_map", name, tensor) for name, tensor in step.inputs.items()]
    lines += [_map("output_map", name, tensor) for name, tensor in step.outputs.items()]
    return "  step {\n" + "\n".join(lines) + "\n  }\n"


def _map(kind: str, name: str, tensor: str) -> str:
    return f"    {kind} {{ key: {_quote(name)} value: {_quote(tensor)} }}"


def _dynamic_batching(config: ModelConfig) -> str:
    if config.max_queue_delay_us is None:
        return ""
    delay = config.max_queue_delay_us
    return f"dynamic_batching {{ max_queue_delay_microseconds: {delay} }}\n"


def _parameters(parameters: dict[str, str]) -> str:
    return "".join(
        f"parameters {{ key: {_quote(name)} value {{ string_value: {_quote(value)} }} }}\n"
        for name, value in parameters.items()
    )


def _instance_group(config: ModelConfig) -> str:
    return "" if config.steps else "instance_group { kind: KIND_CPU count: 1 }\n"


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
