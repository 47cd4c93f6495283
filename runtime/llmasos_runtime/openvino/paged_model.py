"""Converts a plan's IR to paged attention and compiles it for this CPU.

The IR is the standard stateful form. OpenVINO's own transformation turns its attention into
paged attention over packed tokens, unless attention is written out (`block_gather_model`). The
transformation and the operation are outside OpenVINO's stable API, so only this module uses
them, and tests compare its result with the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from llmasos.engine.engine_io import (
    LAST_HIDDEN_STATE,
    OPENVINO_BLOCK_SIZE,
    OPENVINO_FILE,
    is_cache,
)
from llmasos.engine.plan import EnginePlan, KVCachePrecision, Precision
from llmasos.engine.plan_files import REBUILD
from llmasos.errors import PlanError
from llmasos.openvino_import import ops, ov
from openvino._offline_transformations import paged_attention_transformation

from llmasos_runtime.openvino.activation_groups import activation_group
from llmasos_runtime.openvino.block_gather_forward import BlockGatherForward
from llmasos_runtime.openvino.block_gather_model import gather_blocks, is_written_out
from llmasos_runtime.openvino.cache_tensor import CacheTensor
from llmasos_runtime.openvino.encoded_attention import attend_in_blocks, has_encoder
from llmasos_runtime.openvino.encoder_forward import read_encoder
from llmasos_runtime.openvino.forward import Forward, PagedForward
from llmasos_runtime.packing import SAMPLED_POSITIONS

_ACTIVATION_GROUP = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
_COMPUTE = "INFERENCE_PRECISION_HINT"
_TYPES = {"f32": ov.Type.f32, "bf16": ov.Type.bf16}


@dataclass(frozen=True, slots=True, kw_only=True)
class PagedModel:
    """A compiled engine. block_size: tokens of one KV block.

    gathers: True if its attention is written out and not paged (`block_gather_model`). encoder: the
    part that sees the text, of a network that has one.
    """

    compiled: ov.CompiledModel
    caches: tuple[CacheTensor, ...]
    block_size: int
    gathers: bool
    encoder: ov.CompiledModel | None = None

    @property
    def block_bytes(self) -> int:
        """Memory of one KV block over all layers."""
        return sum(cache.block_bytes for cache in self.caches)

    @property
    def chunk_multiple(self) -> int:
        """The chunk multiple: a quantized block shares scales between its tokens, so it is
        written whole.
        """
        is_quantized = any(cache.type == ov.Type.u8 for cache in self.caches)
        return self.block_size if is_quantized else 1

    def forward(self, *, num_blocks: int) -> Forward:
        """Makes a forward over a KV cache of its own with this many blocks."""
        kind = BlockGatherForward if self.gathers else PagedForward
        return kind(self.compiled, self.caches, num_blocks=num_blocks, encoder=self.encoder)


def load_paged_model(
    plan: EnginePlan, directory: Path, *, num_threads: int, pin_threads: bool
) -> PagedModel:
    """Reads, transforms and compiles a plan's IR; raises PlanError if OpenVINO cannot."""
    core = ov.Core()
    properties = {
        **_properties(core, plan),
        "INFERENCE_NUM_THREADS": num_threads,
        "ENABLE_CPU_PINNING": pin_threads,
    }
    try:
        model = core.read_model(directory / OPENVINO_FILE)
        quantized = not plan.deterministic and plan.precision in {"int8", "int4"}
        properties[_ACTIVATION_GROUP] = activation_group(model) if quantized else 0
        kind = _TYPES[str(properties[_COMPUTE])]
        encoder = None
        if plan.encoder_decoder is not None:
            encoder = core.compile_model(read_encoder(directory, core, kind), "CPU", properties)
        gathers = _page(model, plan, kind)
        _select_sampled(model)
        compiled = core.compile_model(model, "CPU", properties)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise PlanError(
            f"{directory / OPENVINO_FILE} cannot be loaded: {reason}", hint=REBUILD
        ) from error
    caches = tuple(_cache(port) for port in compiled.inputs if is_cache(port.any_name))
    if len(caches) != 2 * plan.num_layers:
        raise PlanError(
            f"{directory / OPENVINO_FILE} has {len(caches)} caches, {2 * plan.num_layers} expected",
            hint=REBUILD,
        )
    (block_size,) = {c.block_shape[1] for c in caches if c.name.startswith("value_cache.")}
    return PagedModel(
        compiled=compiled, caches=caches, block_size=block_size, gathers=gathers, encoder=encoder
    )


def _page(model: ov.Model, plan: EnginePlan, kind: ov.Type) -> bool:
    """Lets a network read the blocks of a KV cache; returns whether it gathers them."""
    gathers, crosses = is_written_out(model), has_encoder(model)
    if gathers:
        caches = gather_blocks(model, kind)
    else:
        paged_attention_transformation(model)
        caches = _with_shapes(model, plan, kind) if crosses else {}
    if crosses:
        attend_in_blocks(model, caches)
    return gathers


def _with_shapes(model: ov.Model, plan: EnginePlan, kind: ov.Type) -> dict[str, ov.Node]:
    """Returns the caches of paged attention by name, with the shapes that compiling gives them."""
    shape = ov.PartialShape([-1, plan.num_kv_heads, OPENVINO_BLOCK_SIZE, plan.head_size])
    caches = {p.any_name: p.get_node() for p in model.inputs if is_cache(p.any_name)}
    for cache in caches.values():
        cache.set_partial_shape(shape)
        cache.set_element_type(kind)
    model.validate_nodes_and_infer_types()
    return caches


def computed_in(
    precision: Precision, kv_cache_precision: KVCachePrecision, capabilities: list[str]
) -> KVCachePrecision:
    """The compute type on a CPU with these capabilities: bf16 or f32.

    A KV cache that is not quantized is stored in the compute type, so it decides.
    """
    wants_f32 = "f32" in (precision, kv_cache_precision)
    return "f32" if wants_f32 or "BF16" not in capabilities else "bf16"


def _properties(core: ov.Core, plan: EnginePlan) -> dict[str, Any]:
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    compute = computed_in(plan.precision, plan.kv_cache_precision, capabilities)
    return {
        "PERFORMANCE_HINT": "LATENCY",
        _COMPUTE: compute,
        "KV_CACHE_PRECISION": "u8" if plan.kv_cache_precision == "u8" else compute,
    }


def _select_sampled(model: ov.Model) -> None:
    """Passes only the sampled positions to the output head: a prompt needs only its last logits."""
    hidden = _find(model, LAST_HIDDEN_STATE)
    consumers = hidden.get_target_inputs()
    positions = ops.parameter([-1], np.int64, name=SAMPLED_POSITIONS)
    positions.output(0).get_tensor().set_names({SAMPLED_POSITIONS})
    width = hidden.get_partial_shape()[-1].get_length()
    rows = ops.reshape(hidden, np.array([-1, width]), special_zero=False)
    selected = ops.gather(rows, positions, np.int64(0))
    for consumer in consumers:
        consumer.replace_source_output(selected.output(0))
    model.add_parameters([positions])
    model.validate_nodes_and_infer_types()


def _find(model: ov.Model, name: str) -> Any:
    for node in model.get_ordered_ops():
        for output in node.outputs():
            if name in output.get_tensor().get_names():
                return output
    raise PlanError(f"the network has no tensor {name}", hint=REBUILD)


def _cache(port: Any) -> CacheTensor:
    _, *block_shape = port.partial_shape
    return CacheTensor(
        name=port.any_name,
        type=port.element_type,
        block_shape=tuple(dimension.get_length() for dimension in block_shape),
    )
