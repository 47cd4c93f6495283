"""Engine files as OpenVINO runs them: with their state, with paged attention, and as loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llmasos.engine.plan import PLAN_VERSION, CheckpointRecord, EnginePlan, Limits
from llmasos.engine.weight_format import stored_weights
from llmasos.openvino_import import ov
from llmasos_builder.architectures import DecoderSpec
from llmasos_runtime.evaluation.forward import PackedForward, Part
from llmasos_runtime.openvino.paged_model import load_paged_model
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


class LoadedModel:
    """The file as the runtime loads it, whatever its attention is."""

    def __init__(self, path: Path, spec: DecoderSpec, *, num_rows: int = 3) -> None:
        plan = _exact_plan(spec)
        model = load_paged_model(plan, path.parent, num_threads=2, pin_threads=False)
        self.gathers = model.gathers
        self._forward = PackedForward(model, plan, slot_tokens=BLOCK_SIZE * BLOCKS_PER_ROW)
        self._past = [0] * num_rows

    def step(self, rows: Sequence[Sequence[int]]) -> list[Logits]:
        parts = [
            Part(slot=slot, past=past, token_ids=tuple(row), wanted=0)
            for slot, (past, row) in enumerate(zip(self._past, rows, strict=True))
        ]
        self._past = [past + len(row) for past, row in zip(self._past, rows, strict=True)]
        return [own.astype(np.float64) for own in self._forward.run(parts)]


def _exact_plan(spec: DecoderSpec) -> EnginePlan:
    return EnginePlan(
        version=PLAN_VERSION,
        name="exact",
        target="openvino",
        architecture="any",
        precision="f32",
        weights=stored_weights("f32"),
        kv_cache_precision="f32",
        deterministic=True,
        limits=Limits(max_seq_len=BLOCK_SIZE * BLOCKS_PER_ROW),
        vocab_size=spec.vocab_size,
        num_layers=spec.num_layers,
        num_kv_heads=spec.num_kv_heads,
        head_size=spec.head_size,
        eos_token_ids=(),
        checkpoint=CheckpointRecord(source="none", sha256="0" * 64),
        built_with={},
        files={},
    )
