"""What a step returns of its logits, so that sampling moves no vocabulary from the GPU.

The likeliest tokens and the logarithm of the sum over all are enough for every probability
among them: p = exp(logit - log_sum_exp).
"""

from __future__ import annotations

from typing import Any

from llmasos_builder.tensorrt.layers import Layers, last_axis

CANDIDATE_LOGITS = "candidate_logits"
CANDIDATE_IDS = "candidate_ids"
LOG_SUM_EXP = "log_sum_exp"
LOGITS = "logits"


def output_candidates(
    layers: Layers, logits: Any, *, num_candidates: int, full_logits: bool
) -> None:
    """Outputs of logits [B, V]: with K = min(num_candidates, V), from the likeliest on,
    candidate_logits [B, K] in f32 and candidate_ids [B, K] in int32; log_sum_exp [B, 1] in
    f32; and, if full_logits, logits [B, V] in f32.
    """
    library, definition = layers.library, layers.definition
    logits = layers.cast(logits, library.float32)
    count = min(num_candidates, int(logits.shape[1]))
    top = definition.add_topk(logits, library.TopKOperation.MAX, count, last_axis(logits))
    assert top is not None, "TensorRT refuses a selection of candidates"
    largest = layers.reduce_last(logits, "MAX")
    total = layers.reduce_last(layers.unary(layers.subtract(logits, largest), "EXP"), "SUM")
    outputs = {
        CANDIDATE_LOGITS: top.get_output(0),
        CANDIDATE_IDS: top.get_output(1),
        LOG_SUM_EXP: layers.add(layers.unary(total, "LOG"), largest),
    }
    if full_logits:
        outputs[LOGITS] = logits
    for name, tensor in outputs.items():
        tensor.name = name
        definition.mark_output(tensor)
