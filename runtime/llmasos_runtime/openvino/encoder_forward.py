"""Runs the encoder of an encoder-decoder over packed texts, into blocks of the KV cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llmasos.engine.engine_io import (
    CACHE_PARTS,
    ENCODER_FILE,
    OPENVINO_BLOCK_SIZE,
    cache_name,
    encoded_name,
)
from llmasos.forked import leave_to_parent
from llmasos.openvino_import import ops, ov
from numpy.typing import NDArray

from llmasos_runtime.packed_texts import packed
from llmasos_runtime.sequences.encoded_text import EncodedText


class EncoderForward:
    """Computes the keys and values that each layer of the decoder has of a text.

    caches: the blocks [blocks, H, block size, D] of each layer's keys and values, by name.
    """

    def __init__(self, compiled: ov.CompiledModel, caches: Mapping[str, NDArray[Any]]) -> None:
        self._compiled = compiled  # lives as long as this
        self._request = compiled.create_infer_request()
        leave_to_parent(self)
        self._inputs = [port.any_name for port in compiled.inputs]
        num_layers = len(compiled.outputs) // 2
        self._targets = [
            (encoded_name(part, layer), caches[cache_name(part, layer)])
            for layer in range(num_layers)
            for part in CACHE_PARTS
        ]

    def run(self, texts: Sequence[EncodedText]) -> None:
        """Encodes texts into their blocks."""
        arrays = packed([text.token_ids for text in texts])
        for name in self._inputs:
            self._request.set_tensor(name, ov.Tensor(arrays[name], shared_memory=True))
        self._request.infer()
        places = [np.arange(len(text.token_ids)) for text in texts]
        blocks = np.concatenate(
            [
                np.array(text.blocks)[at // OPENVINO_BLOCK_SIZE]
                for text, at in zip(texts, places, strict=True)
            ]
        )
        offsets = np.concatenate(places) % OPENVINO_BLOCK_SIZE
        for name, cache in self._targets:
            cache[blocks, :, offsets] = self._request.get_tensor(name).data.view(cache.dtype)


def read_encoder(directory: Path, core: ov.Core, kind: ov.Type) -> ov.Model:
    """Reads a plan's encoder, whose outputs are then of the caches' element type."""
    model = core.read_model(directory / ENCODER_FILE)
    for result in model.get_results():
        source = result.input_value(0)
        names = source.get_names()
        converted = ops.convert(source, kind)
        result.input(0).replace_source_output(converted.output(0))
        source.get_tensor().set_names(set())
        converted.output(0).get_tensor().set_names(names)
    model.validate_nodes_and_infer_types()
    return model
