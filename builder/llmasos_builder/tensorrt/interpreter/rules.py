"""Rules that TensorRT's interface does not enforce but its documentation or compiler does.

Each rule cites its source: «documented» is TensorRT's operator reference or the library's own
docstrings, «compiler» an error of the compiler of TensorRT for RTX 1.7.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from llmasos_builder.tensorrt.interpreter.layer import Layer, LayerTensor

Known = Collection[str]
Rule = Callable[[Layer, Known], None]
_QUANTIZED = ("INT8", "INT4", "FP8", "FP4")
_CACHE_TYPES = ("FLOAT", "HALF", "BF16")


def check_documented(layer: Layer, constant: Known) -> None:
    """Raises InterpretationError for a layer that breaks a rule.

    constant: the names of tensors that are known when an engine is built.
    """
    if layer.kind != "DEQUANTIZE":
        for tensor in layer.inputs:
            if tensor is not None and tensor.dtype in _QUANTIZED and tensor.name in constant:
                raise layer.error(
                    f"compiler: {tensor.name!r} is quantized and constant, so it may only be "
                    "dequantized"
                )
    if layer.kind in _RULES:
        _RULES[layer.kind](layer, constant)


def _attention(layer: Layer, constant: Known) -> None:  # noqa: ARG001
    attention = layer.settings.attention
    query, key = _input(layer, 0), _input(layer, 1)
    if attention.mask is not None and attention.mask.dtype.name not in ("BOOL", query.dtype):
        raise layer.error("documented: a mask is of bools, or of the type of the query")
    types = {_input(layer, index).dtype for index in range(3)}
    if len(types) > 1:
        raise layer.error(f"documented: query, key and value are of one type, not {sorted(types)}")
    if attention.normalization_quantize_scale is not None or attention.num_ranks != 1:
        raise layer.error("quantized shares, and attention over several GPUs, are not interpreted")
    if {attention.query_form.name, attention.key_value_form.name} != {"PADDED_BHND"}:
        raise layer.error("compiler: no kernel takes packed queries or keys")
    if query.dtype == "FLOAT" and not attention.decomposable:
        raise layer.error("compiler: no kernel takes float32 unless decomposable is set")
    if query.shape[1] % key.shape[1]:
        raise layer.error(
            f"documented: {query.shape[1]} query heads cannot share {key.shape[1]} equally"
        )
    if attention.norm_op.name != "SOFTMAX":
        raise layer.error(f"the normalization {attention.norm_op.name} cannot be interpreted")


def _kv_cache_update(layer: Layer, constant: Known) -> None:  # noqa: ARG001
    cache, update, index = (_input(layer, i) for i in range(3))
    (output,) = layer.outputs
    if not cache.is_network_input or not output.is_network_output:
        raise layer.error("documented: it is updated in place from a network input to an output")
    if cache.shape[2] < 0:
        raise layer.error("documented: the length of the cache must be static")
    if cache.dtype not in _CACHE_TYPES or cache.dtype != update.dtype:
        raise layer.error(f"documented: a cache of {cache.dtype} cannot take {update.dtype}")
    if index.dtype != "INT32":
        raise layer.error(f"compiler: it takes indices of INT32 alone, got {index.dtype}")
    if layer.settings.update_form.name != "PADDED_BHND":
        raise layer.error("packed updates cannot be interpreted")


def _scaled(layer: Layer, constant: Known) -> None:
    values, scale = _input(layer, 0), _input(layer, 1)
    if scale.name not in constant:
        raise layer.error("documented: scales must be known when the engine is built")
    if len(scale.shape) < 2:
        return
    if values.dtype == "INT4" and _has_block_shape(layer):
        raise layer.error("compiler: it finds the blocks of int4 itself, block_shape must be unset")
    blocked = [axis for axis in range(len(scale.shape)) if scale.shape[axis] != values.shape[axis]]
    if len(blocked) > 1 or any(axis < len(scale.shape) - 2 for axis in blocked):
        raise layer.error("documented: blocks lie along one of the last two axes")


def _has_block_shape(layer: Layer) -> bool:
    try:
        return bool(tuple(layer.settings.block_shape))
    except RuntimeError:  # what the bindings make of none
        return False


def _input(layer: Layer, index: int) -> LayerTensor:
    tensor = layer.inputs[index]
    assert tensor is not None
    return tensor


_RULES: Mapping[str, Rule] = {
    "ATTENTION_INPUT": _attention,
    "DEQUANTIZE": _scaled,
    "KV_CACHE_UPDATE": _kv_cache_update,
    "QUANTIZE": _scaled,
}
