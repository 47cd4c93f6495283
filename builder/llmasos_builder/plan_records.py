"""What a plan records of what is around its network: an encoder, or an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from llmasos.engine.encoder_decoder_record import EncoderDecoderRecord
from llmasos.engine.encoder_record import EncoderRecord
from llmasos.files.json_file import read_json_object
from llmasos.generation_config import GENERATION_CONFIG_FILE, GenerationConfig

from llmasos_builder.architectures.encoder.labels import labels_of
from llmasos_builder.architectures.encoder_decoder.network import EncoderDecoder
from llmasos_builder.architectures.network import Network
from llmasos_builder.graph.recording import RecordingGraph
from llmasos_builder.tensorrt_llm.refer import CheckpointSizes


class PlanRecords(TypedDict):
    """What a plan says of what stands around the network."""

    encoder: EncoderRecord | None
    encoder_decoder: EncoderDecoderRecord | None


def plan_records(
    network: Network | CheckpointSizes, config: Mapping[str, Any], directory: Path
) -> PlanRecords:
    """Returns the records of a network, from its checkpoint's config.json.

    directory: of the plan. Raises CheckpointError for values that make no sense.
    """
    records = PlanRecords(encoder=None, encoder_decoder=None)
    if isinstance(network, EncoderDecoder):
        generation = read_json_object(directory / GENERATION_CONFIG_FILE, default={})
        made = EncoderDecoderRecord.of_config(config, generation, vocab_size=network.vocab_size)
        for name, params in made.tasks.items():  # refuses values that make no sense
            GenerationConfig.parse(params, name=f"config.json: task_specific_params: {name}")
        records["encoder_decoder"] = made
    elif not isinstance(network, CheckpointSizes) and network.task != "generate":
        records["encoder"] = _encoder_record(network, config)
    return records


def _encoder_record(network: Network, config: Mapping[str, Any]) -> EncoderRecord:
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
