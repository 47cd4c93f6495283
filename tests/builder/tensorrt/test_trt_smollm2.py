"""The real checkpoint's TensorRT network continues a text as the reference does."""

from __future__ import annotations

from llmasos_builder.architectures import decoder_spec
from llmasos_builder.architectures.decoder.decoder import define_decoder
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.tensorrt.interpreter import InterpretedNetwork, Row
from llmasos_builder.tensorrt.network import TensorRTGraph
from smollm2_text import CONTINUATION, PROMPT
from trt_models import options, trt

NEW_TOKENS = 8


def test_greedy_tokens_in_fp16_are_the_references(smollm2_checkpoint: str) -> None:
    """Two rows, the second one step behind: prefill, then prefill beside decode, then decode."""
    checkpoint = open_checkpoint(smollm2_checkpoint)
    graph = TensorRTGraph(trt, options("fp16", full_logits=False))
    load = checkpoint.weights.load
    spec = decoder_spec(checkpoint.config)
    define_decoder(spec, graph, lambda name, _: load(name), precision="fp16")
    model = InterpretedNetwork(graph.definition, graph.constants, num_slots=2)
    texts = [list(PROMPT), list(PROMPT)]
    computed = [0, 0]
    for step in range(NEW_TOKENS + 1):
        active = [0, 1] if step else [0]
        rows = [
            Row(slot=i, num_computed_tokens=computed[i], token_ids=texts[i][computed[i] :])
            for i in active
        ]
        likeliest = model.step(rows)["candidate_ids"][:, 0]
        for i, token in zip(active, likeliest.tolist(), strict=True):
            computed[i] = len(texts[i])
            texts[i].append(token)
    assert texts[0] == PROMPT + CONTINUATION[: NEW_TOKENS + 1]
    assert texts[1] == PROMPT + CONTINUATION[:NEW_TOKENS]
