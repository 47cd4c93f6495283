"""Engine files as OpenVINO runs them: with their state, and with paged attention."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino._offline_transformations import paged_attention_transformation
from parity import Logits, PaddedRows, unpadded

BLOCK_SIZE = 32
BLOCKS_PER_ROW = 8
EXACT: dict[str, Any] = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    "INFERENCE_NUM_THREADS": 2,
}


class StatefulModel:
    """The file as it is: padded rows, keys and values in its state."""

    def __init__(self, path: Path, rows: PaddedRows | None = None) -> None:
        self._request = ov.Core().compile_model(path, "CPU", EXACT).create_infer_request()
        self._rows = rows or PaddedRows()

    def step(self, rows: Sequence[Sequence[int]]) -> list[Logits]:
        ids, positions = self._rows.add(rows)
        result = self._request.infer(
            {
                "input_ids": ids,
                "attention_mask": self._rows.mask,
                "position_ids": positions,
                "beam_idx": np.arange(len(rows), dtype=np.int32),
            }
        )
        return unpadded(result["logits"], rows)


def paged(path: Path) -> ov.Model:
    model = ov.Core().read_model(path)
    paged_attention_transformation(model)
    return model


class PagedModel:
    """The file after the transformation: packed tokens, keys and values in blocks."""

    def __init__(self, path: Path, *, num_rows: int = 3) -> None:
        compiled = ov.Core().compile_model(paged(path), "CPU", EXACT)
        self._request = compiled.create_infer_request()
        self._past = [0] * num_rows
        for port in compiled.inputs:
            if "cache" in port.any_name:
                # The number of blocks is the one open dimension.
                blocks = num_rows * BLOCKS_PER_ROW
                shape = [d.get_length() if d.is_static else blocks for d in port.partial_shape]
                tensor = ov.Tensor(port.element_type, ov.Shape(shape))
                tensor.data[...] = 7  # what no row has written must not matter
                self._request.set_tensor(port.any_name, tensor)

    def step(self, rows: Sequence[Sequence[int]]) -> list[Logits]:
        lengths = [past + len(row) for past, row in zip(self._past, rows, strict=True)]
        tables = [
            [row * BLOCKS_PER_ROW + block for block in range(-(-length // BLOCK_SIZE))]
            for row, length in enumerate(lengths)
        ]
        begins = np.cumsum([0, *map(len, rows)])
        spans = zip(self._past, lengths, strict=True)
        inputs = {
            "input_ids": np.array([token for row in rows for token in row], np.int64),
            "position_ids": np.array([p for a, b in spans for p in range(a, b)], np.int64),
            "past_lens": np.array(self._past, np.int32),
            "subsequence_begins": begins.astype(np.int32),
            "block_indices": np.array([block for table in tables for block in table], np.int32),
            "block_indices_begins": np.cumsum([0, *map(len, tables)]).astype(np.int32),
            "max_context_len": np.array(max(lengths), np.int32),
        }
        for name, value in inputs.items():
            self._request.set_tensor(name, ov.Tensor(value))
        self._request.infer()
        self._past = lengths
        logits = self._request.get_tensor("logits").data[:, 0].astype(np.float64)
        return np.split(logits, begins[1:-1])
