"""What a plan records of an encoder, found by recording its network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from llmasos.engine.encoder_record import EncoderRecord

from llmasos_builder.architectures.encoder.labels import labels_of
from llmasos_builder.architectures.network import Network
from llmasos_builder.graph.recording import RecordingGraph


def encoder_record(network: Network, config: Mapping[str, Any]) -> EncoderRecord:
    """Returns the record of an encoder's network and its checkpoint's config.json."""
    graph = RecordingGraph()
    network.define(graph, lambda _, shape: np.broadcast_to(np.float32(0), shape), precision="f32")
    kinds = {operation.kind for operation in graph.operations}
    is_labelled = network.task in ("classify", "classify_tokens")
    return EncoderRecord.of_config(
        config,
        width=graph.operations[-1].inputs[0].width,
        has_token_types="embed_token_types" in kinds,
        labels=labels_of(config) if is_labelled else (),
        is_normalized="normalize" in kinds,
    )
