"""Rotary positions, the KV cache and attention over it."""

from __future__ import annotations

from typing import Any

import numpy as np
from llmasos.engine.engine_io import CachePart, cache_name, updated_cache

from llmasos_builder.graph import AttentionScores
from llmasos_builder.tensorrt.inputs import Inputs
from llmasos_builder.tensorrt.layers import Layers
from llmasos_builder.tensorrt.masks import Masks
from llmasos_builder.tensorrt.options import NetworkOptions
from llmasos_builder.tensorrt.soft_capped_attention import soft_capped_attention


class CachedAttention:
    """Attention of one layer after the other; each has a key and a value cache.

    A cache is an input key_cache.N or value_cache.N [B, kv_heads, max_seq_len, head_size] that is
    updated in place: the output key_cache_out.N or value_cache_out.N is the same memory. TensorRT
    silently writes nothing for a row whose tokens do not fit after kv_write_index.
    """

    def __init__(self, layers: Layers, inputs: Inputs, options: NetworkOptions) -> None:
        self._layers = layers
        self._inputs = inputs
        self._options = options
        self._masks = Masks(layers, inputs, options)
        self._num_layers = 0
        self._rotations: dict[tuple[float, ...], tuple[Any, Any]] = {}

    def rotary(self, x: Any, frequencies: tuple[float, ...]) -> Any:
        """Rotates x [B, heads, S, head_size]; with fewer pairs the rest stays unchanged."""
        size = 2 * len(frequencies)
        cos, sin = self._rotation(frequencies)
        layer = self._layers.definition.add_rotary_embedding(
            x, cos, sin, False, 0 if size == x.shape[3] else size
        )
        assert layer is not None, "TensorRT refuses rotary positions"
        layer.set_input(3, self._inputs.position_ids)
        assert layer.get_input(3) is not None, "TensorRT refuses positions"
        return layer.get_output(0)

    def attend(self, query: Any, key: Any, value: Any, *, scores: AttentionScores) -> Any:
        """[B, heads, S, head_size]; see `Graph.cached_attention`."""
        library, definition = self._layers.library, self._layers.definition
        keys, values = self._extend("key", key), self._extend("value", value)
        query, mask = self._scaled(query, scores.scale), self._masks.of(scores)
        if scores.cap is not None:
            self._num_layers += 1
            return soft_capped_attention(
                self._layers, query, keys, values, mask=mask, cap=scores.cap
            )
        layer = definition.add_attention_v2(
            query,
            keys,
            values,
            library.AttentionNormalizationOp.SOFTMAX,
            library.CausalMaskKind.NONE,
        )
        assert layer is not None, "TensorRT refuses an attention"
        layer.name = f"attention.{self._num_layers}"
        layer.mask = mask
        # Of one that it cannot take TensorRT says so in its log alone, and drops it.
        assert layer.mask is not None, "TensorRT refuses a mask"
        # Only in f32 is there no fused kernel; elsewhere a fallback would be slow unnoticed.
        layer.decomposable = self._options.compute_type == "f32"
        self._num_layers += 1
        return layer.get_output(0)

    def _extend(self, part: CachePart, new: Any) -> Any:
        definition, constants = self._layers.definition, self._layers.constants
        heads, length, size = int(new.shape[1]), self._options.max_seq_len, int(new.shape[3])
        name = cache_name(part, self._num_layers)
        cache = self._inputs.add(
            name,
            constants.dtype,
            (-1, heads, length, size),
            lambda b, _: (b, heads, length, size),
        )
        mode = self._layers.library.KVCacheMode.LINEAR
        layer = definition.add_kv_cache_update(cache, new, self._inputs.kv_write_index, mode)
        assert layer is not None, "TensorRT refuses a KV cache"
        updated = layer.get_output(0)
        updated.name = updated_cache(name)
        definition.mark_output(updated)
        return updated

    def _scaled(self, query: Any, scale: float) -> Any:
        """Scales the query, since TensorRT does not. A scale that would be rounded, and so shift
        every score, is applied in f32.
        """
        if scale == 1:
            return query
        layers, constants = self._layers, self._layers.constants
        if float(constants.numpy_type.type(scale)) == scale:
            return layers.multiply(query, constants.scalar(scale, rank=4))
        exact = layers.cast(query, layers.library.float32)
        scaled = layers.multiply(exact, constants.scalar(scale, rank=4, exact=True))
        return layers.cast(scaled, constants.dtype)

    def _rotation(self, frequencies: tuple[float, ...]) -> tuple[Any, Any]:
        """cos and sin [max_seq_len, pairs]."""
        if frequencies not in self._rotations:
            angles = np.outer(np.arange(self._options.max_seq_len), frequencies)
            constants = self._layers.constants
            self._rotations[frequencies] = (
                constants.of_compute_type(np.cos(angles)),
                constants.of_compute_type(np.sin(angles)),
            )
        return self._rotations[frequencies]
