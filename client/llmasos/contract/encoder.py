"""The contract of a repository whose engine sees each text once: tensors of `engine`.

A request has any number of texts, so that the tensors have no batch dimension; requests of many
clients are packed by the engine.
"""

from __future__ import annotations

from collections.abc import Mapping

from llmasos.contract.tensor import DataType, Support, Tensor
from llmasos.engine.plan import Task


def _input(name: str, kind: DataType, dims: tuple[int, ...] = (1,)) -> Tensor:
    return Tensor(name=name, type=kind, dims=dims, optional=True, support=Support.EXTRA)


_TEXT = Tensor(
    name="text_input",
    type=DataType.STRING,
    dims=(-1,),
    optional=True,
    needed=True,
    support=Support.EXTRA,
)
_COMMON = (
    _input("truncate", DataType.BOOL),
    _input("priority", DataType.INT32),
    _input("deadline_ms", DataType.INT32),
)
ENCODER_INPUTS: Mapping[Task, tuple[Tensor, ...]] = {
    "embed": (
        _TEXT,
        _input("prompt", DataType.STRING),
        _input("prompt_name", DataType.STRING),
        _input("dimensions", DataType.INT32),
        *_COMMON,
    ),
    "classify": (_TEXT, _input("pair_input", DataType.STRING, (-1,)), *_COMMON),
    "classify_tokens": (_TEXT, _input("aggregation", DataType.STRING), *_COMMON),
    "fill_mask": (_TEXT, _input("top_k", DataType.INT32), *_COMMON),
}
"""By the task of the plan."""


def _output(name: str, kind: DataType, *dims: int) -> Tensor:
    return Tensor(name=name, type=kind, dims=dims, support=Support.EXTRA)


_NUM_TOKENS = _output("num_input_tokens", DataType.INT32, 1)
ENCODER_OUTPUTS: Mapping[Task, tuple[Tensor, ...]] = {
    "embed": (_output("embeddings", DataType.FP32, -1, -1), _NUM_TOKENS),
    "classify": (
        _output("scores", DataType.FP32, -1, -1),
        _output("labels", DataType.STRING, -1),
        _NUM_TOKENS,
    ),
    "classify_tokens": (_output("results", DataType.STRING, -1), _NUM_TOKENS),
    "fill_mask": (_output("results", DataType.STRING, -1), _NUM_TOKENS),
}
"""embeddings, scores: a row for each text. labels: the names of the columns of scores. results: for
each text a JSON list: of its labelled spans, or of its gaps and the tokens for each.
num_input_tokens: of all texts together.
"""
