"""The engine file is the standard form, as small as its precision, and the same every time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llmasos.engine.engine_io import LAST_HIDDEN_STATE
from llmasos.engine.plan import Precision
from llmasos.openvino_import import ov
from llmasos_builder.architectures import decoder_spec
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.openvino.compile import compile_openvino
from openvino_models import EXACT, paged
from parity import compiled

PRECISIONS = ["f32", "bf16", "int8", "int4"]
LAYERS = 2


def engine(checkpoint: Path, directory: Path, *, precision: Precision = "f32") -> Path:
    opened = open_checkpoint(checkpoint)
    directory.mkdir(exist_ok=True)
    return compiled(directory, decoder_spec(opened.config), opened.weights, precision=precision)


def executed(model: ov.Model, *, hint: str) -> list[Any]:
    """The operations that the plugin made of it."""
    settings = {**EXACT, "INFERENCE_PRECISION_HINT": hint, "KV_CACHE_PRECISION": "u8"}
    compiled_model = ov.Core().compile_model(model, "CPU", settings)
    return list(compiled_model.get_runtime_model().get_ops())


def kind_of(operation: Any) -> str:
    return str(operation.get_rt_info()["layerType"].astype(str))


def test_it_is_the_form_that_openvinos_own_tools_load(tiny_llama: Path, tmp_path: Path) -> None:
    model = ov.Core().read_model(engine(tiny_llama, tmp_path))
    inputs = {port.any_name: (str(port.partial_shape), port.element_type) for port in model.inputs}
    assert inputs == {
        "input_ids": ("[?,?]", ov.Type.i64),
        "attention_mask": ("[?,?]", ov.Type.i64),
        "position_ids": ("[?,?]", ov.Type.i64),
        "beam_idx": ("[?]", ov.Type.i32),
    }
    (logits,) = model.outputs
    assert (logits.any_name, str(logits.partial_shape)) == ("logits", "[?,?,259]")
    assert {variable.info.variable_id for variable in model.get_variables()} == {
        f"past_key_values.{layer}.{kind}present.{layer}.{kind}"
        for layer in range(LAYERS)
        for kind in ("key", "value")
    }


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_becomes_paged_attention_in_every_layer(
    tiny_llama: Path, tmp_path: Path, precision: Precision
) -> None:
    model = paged(engine(tiny_llama, tmp_path, precision=precision))
    kinds = Counter(operation.get_type_name() for operation in model.get_ops())
    assert kinds["PagedAttentionExtension"] == LAYERS
    assert not {"ReadValue", "Assign", "ScaledDotProductAttention"} & kinds.keys()
    named = [p for o in model.get_ops() for p in o.outputs() if LAST_HIDDEN_STATE in p.get_names()]
    (last_hidden_state,) = named
    (head,) = last_hidden_state.get_target_inputs()
    assert head.get_node().get_type_name() == "MatMul"
    assert last_hidden_state.get_partial_shape()[-1].get_length() == 64


@pytest.mark.parametrize(
    ("precision", "hint", "kept"),
    [
        ("bf16", "f32", "bf16"),
        ("bf16", "bf16", "bf16"),
        ("int8", "f32", "i8"),
        ("int8", "bf16", "i8"),
        ("int4", "f32", "i4"),
        ("int4", "bf16", "i4"),
    ],
)
def test_weights_stay_compressed_in_memory(
    tiny_llama: Path, tmp_path: Path, precision: Precision, hint: str, kept: str
) -> None:
    model = paged(engine(tiny_llama, tmp_path, precision=precision))
    linear = [o for o in executed(model, hint=hint) if "Fully" in kind_of(o)]
    assert len(linear) == 5 * LAYERS + 1  # query, key and value are one
    types = Counter(
        o.input_value(1).get_node().get_rt_info()["runtimePrecision"].astype(str) for o in linear
    )
    head = "i8" if precision == "int4" else kept
    assert types == Counter({kept: 5 * LAYERS}) + Counter([head])


@pytest.mark.parametrize("hint", ["f32", "bf16"])
def test_norms_and_rotary_positions_are_one_operation_each(
    tiny_llama: Path, tmp_path: Path, hint: str
) -> None:
    model = paged(engine(tiny_llama, tmp_path, precision="int8"))
    kinds = Counter(map(kind_of, executed(model, hint=hint)))
    assert (kinds["RMS"], kinds["RoPE"]) == (2 * LAYERS + 1, 2 * LAYERS)


def test_a_tied_embedding_is_stored_once(tiny_llama: Path, tmp_path: Path) -> None:
    sizes: dict[Precision, int] = {"f32": 4, "bf16": 2, "int8": 1}
    for precision, size in sizes.items():
        path = engine(tiny_llama, tmp_path / precision, precision=precision)
        matrices = 259 * 64 + LAYERS * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128)
        others = 4 * (259 + LAYERS * (2 * 64 + 2 * 32 + 2 * 128 + 64 + 2 * 64) + 2 * 64) + 2000
        stored = path.with_suffix(".bin").stat().st_size
        assert size * matrices < stored < size * matrices + others


@pytest.mark.parametrize("precision", PRECISIONS)
def test_two_compilations_are_the_same_bytes(
    tiny_llama: Path, tmp_path: Path, precision: Precision
) -> None:
    first, second = (engine(tiny_llama, tmp_path / d, precision=precision) for d in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".bin").read_bytes() == second.with_suffix(".bin").read_bytes()


def test_int4_layers_take_half_a_byte_and_a_scale_for_each_group(
    tiny_llama: Path, tmp_path: Path
) -> None:
    """Of 64 columns a row is one group of 64, of 128 one of 128."""
    path = engine(tiny_llama, tmp_path, precision="int4")
    layer = (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128) // 2
    scales = 4 * (2 * 64 + 2 * 32 + 2 * 128 + 64)
    norms_and_small = 4 * 5 * 64 + 1000
    needed = 259 * (64 + 4) + LAYERS * (layer + scales)
    assert needed < path.with_suffix(".bin").stat().st_size < needed + norms_and_small


def test_operations_are_named_after_their_weights(tiny_llama: Path, tmp_path: Path) -> None:
    model = ov.Core().read_model(engine(tiny_llama, tmp_path, precision="int8"))
    names = {operation.get_friendly_name() for operation in model.get_ops()}
    assert "model.layers.1.mlp.down_proj.weight" in names
    assert "model.layers.1.mlp.down_proj.weight/scale" in names


def test_beam_idx_chooses_whose_past_a_row_continues(tiny_llama: Path, tmp_path: Path) -> None:
    compiled_model = ov.Core().compile_model(engine(tiny_llama, tmp_path), "CPU", EXACT)

    def last_logits(second: list[int], beams: list[int]) -> Any:
        request = compiled_model.create_infer_request()
        steps: list[tuple[list[int], int, list[int]]] = [
            ([1, 2, 3, 4, 5, 6], 0, [0, 1]),
            (second, 3, beams),
        ]
        for ids, past, beam_idx in steps:
            new = np.array(ids, np.int64).reshape(2, -1)
            positions = np.tile(np.arange(past, past + new.shape[1], dtype=np.int64), (2, 1))
            result = request.infer(
                {
                    "input_ids": new,
                    "attention_mask": np.ones((2, past + new.shape[1]), np.int64),
                    "position_ids": positions,
                    "beam_idx": np.array(beam_idx, np.int32),
                }
            )
        return result["logits"][:, -1].copy()

    straight, crossed = last_logits([7, 8], [0, 1]), last_logits([8, 7], [1, 0])
    np.testing.assert_allclose(straight, crossed[::-1], rtol=1e-4, atol=1e-4)
    assert np.abs(straight - last_logits([7, 8], [1, 0])).max() > 0.01


def test_progress_counts_tensors_and_the_file(tiny_llama: Path, tmp_path: Path) -> None:
    opened = open_checkpoint(tiny_llama)
    reports: list[tuple[int, int]] = []
    compile_openvino(
        decoder_spec(opened.config),
        opened.weights,
        precision="int8",
        output=tmp_path / "engine.xml",
        progress=lambda done, total: reports.append((done, total)),
    )
    total = 2 + 9 * LAYERS + 1
    assert reports == [(done, total) for done in range(total + 1)]
