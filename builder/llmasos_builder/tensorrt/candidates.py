"""The outputs of a step, chosen so that sampling copies no vocabulary from the GPU.

The likeliest tokens and the log-sum-exp over all give every probability among them:
p = exp(logit - log_sum_exp).
"""

from __future__ import annotations

from typing import Any

from llmasos.engine.engine_io import CANDIDATE_IDS, CANDIDATE_LOGITS, LOG_SUM_EXP, LOGITS

from llmasos_builder.tensorrt.layers import Layers, last_axis


def output_candidates(
    layers: Layers, logits: Any, *, num_candidates: int, full_logits: bool
) -> None:
    """Adds the outputs of logits [B, V]: with K = min(num_candidates, V), likeliest first,
    candidate_logits [B, K] in f32 and candidate_ids [B, K] in int32; log_sum_exp [B, 1] in f32;
    and, if full_logits, logits [B, V] in f32.
    """
    logits = layers.cast(logits, layers.library.float32)
    values, ids = likeliest(layers, logits, num_candidates)
    output_named(
        layers,
        candidate_logits=values,
        candidate_ids=ids,
        log_sum_exp=log_sum_exp(layers, logits),
        logits=logits if full_logits else None,
    )


def likeliest(layers: Layers, logits: Any, num_candidates: int) -> tuple[Any, Any]:
    """Returns values and positions [B, K] of the largest of logits [B, n]; K =
    min(num_candidates, n).
    """
    count = min(num_candidates, int(logits.shape[1]))
    largest = layers.library.TopKOperation.MAX
    top = layers.definition.add_topk(logits, largest, count, last_axis(logits))
    assert top is not None, "TensorRT refuses a selection of candidates"
    return top.get_output(0), top.get_output(1)


def log_sum_exp(layers: Layers, logits: Any) -> Any:
    """Returns [B, 1] for logits [B, n]."""
    largest = layers.reduce_last(logits, "MAX")
    total = layers.reduce_last(layers.unary(layers.subtract(logits, largest), "EXP"), "SUM")
    return layers.add(layers.unary(total, "LOG"), largest)


def output_named(
    layers: Layers, *, candidate_logits: Any, candidate_ids: Any, log_sum_exp: Any, logits: Any
) -> None:
    """Names the outputs of a step; logits: None if it does not return them."""
    outputs = {
        CANDIDATE_LOGITS: candidate_logits,
        CANDIDATE_IDS: candidate_ids,
        LOG_SUM_EXP: log_sum_exp,
        LOGITS: logits,
    }
    for name, tensor in outputs.items():
        if tensor is not None:
            tensor.name = name
            layers.definition.mark_output(tensor)
