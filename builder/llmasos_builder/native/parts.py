"""Which parts the weights' file of a network has: where they belong, what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from llmasos.engine.native_engine import GROUP, FileField, LayerField, padded
from numpy.typing import NDArray

from llmasos_builder.graph import Array
from llmasos_builder.graph.records import RecordedWeight
from llmasos_builder.native.lowered import LoweredLayer, LoweredNetwork, Norm, Product
from llmasos_builder.native.packing import (
    gate_and_up,
    pack,
    pad,
    pad_heads,
    query_key_value,
    rotary_table,
)

Place = tuple[FileField | LayerField, int]
"""A field of the file, or of a layer, and which layer."""
Made = tuple[NDArray[Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Arrays that stand in the file one after the other.

    places: of each array, the fields that say where it is. sizes: of each, its bytes. names: of
    the weights that it is made of, none for a part that is known without. make: from their values.
    """

    places: tuple[tuple[Place, ...], ...]
    sizes: tuple[int, ...]
    names: tuple[str, ...]
    make: Callable[[Sequence[Array]], Made]


def parts_of(network: LoweredNetwork, *, bits: int, max_seq_len: int) -> Iterator[Part]:
    """All parts, in the order of the file; bits: of the layers' matrices."""
    yield from _tables(network)
    field = FileField
    yield from _norm(network, network.final_norm, (field.FINAL_NORM, 0), (field.FINAL_NORM_BIAS, 0))
    if network.positions is not None:
        yield _positions(network.positions, network.hidden_size, max_seq_len)
    if network.embedding_norm is not None:
        weight, bias = (field.EMBEDDING_NORM, 0), (field.EMBEDDING_NORM_BIAS, 0)
        yield from _norm(network, network.embedding_norm, weight, bias)
    yield from _slopes(network)
    rotary: dict[tuple[float, ...], list[Place]] = {}
    for index, layer in enumerate(network.layers):
        rotary.setdefault(layer.frequencies, []).append((LayerField.ROPE, index))
        yield from _layer(network, layer, index, bits)
    for frequencies, places in rotary.items():
        width = padded(2 * len(frequencies))
        yield Part(
            places=(tuple(places),),
            sizes=(4 * width * max_seq_len,),
            names=(),
            make=partial(_rotary, frequencies, max_seq_len),
        )


def _slopes(network: LoweredNetwork) -> Iterator[Part]:
    """ALiBi's, of each query head; layers with the same ones share them."""
    found: dict[tuple[float, ...], list[Place]] = {}
    for index, layer in enumerate(network.layers):
        if layer.scores.slopes is not None:
            found.setdefault(layer.scores.slopes, []).append((LayerField.SLOPES, index))
    for slopes, places in found.items():
        yield Part(
            places=(tuple(places),),
            sizes=(4 * len(slopes),),
            names=(),
            make=partial(_numbers, slopes),
        )


def _numbers(values: tuple[float, ...], _: Sequence[Array]) -> Made:
    return (np.array(values, np.float32),)


def _tables(network: LoweredNetwork) -> Iterator[Part]:
    """The embedding and the head, in int8; they may be one."""
    field = FileField
    rows, columns = padded(network.vocab_size, 32), padded(network.hidden_size)
    is_one = network.head.name == network.embedding.name
    embedding: list[list[Place]] = [[(field.EMBEDDING, 0)], [(field.EMBEDDING_SCALE, 0)]]
    head: list[list[Place]] = [[(field.HEAD, 0)], [(field.HEAD_SCALE, 0)]]
    tables = [(network.embedding, embedding), (network.head, head)]
    if is_one:
        tables = [(network.embedding, [a + b for a, b in zip(embedding, head, strict=True)])]
    for weight, places in tables:
        yield Part(
            places=tuple(map(tuple, places)),
            sizes=(rows * columns, 4 * rows),
            names=(weight.name,),
            make=partial(_matrix, _unchanged, rows, columns, 8),
        )


def _layer(network: LoweredNetwork, layer: LoweredLayer, index: int, bits: int) -> Iterator[Part]:
    field = LayerField
    hidden, inner = padded(network.hidden_size), padded(network.intermediate_size)
    head, width = padded(network.head_size), padded(network.head_size) * network.num_heads
    projected = width + 2 * head * network.num_kv_heads
    joined = partial(
        query_key_value,
        num_heads=network.num_heads,
        num_kv_heads=network.num_kv_heads,
        head_size=network.head_size,
    )
    spread = partial(_spread_columns, num_heads=network.num_heads)
    norms = [
        (layer.attention_norm, field.ATTENTION_NORM, field.ATTENTION_NORM_BIAS),
        (layer.mlp_norm, field.MLP_NORM, field.MLP_NORM_BIAS),
        (layer.output_norm, field.ATTENTION_OUTPUT_NORM, field.ATTENTION_OUTPUT_NORM_BIAS),
        (layer.down_norm, field.MLP_OUTPUT_NORM, field.MLP_OUTPUT_NORM_BIAS),
    ]
    for norm, place, bias_place in norms:
        if norm is not None:
            yield from _norm(network, norm, (place, index), (bias_place, index))
    head_norms = [(layer.query_norm, field.QUERY_NORM), (layer.key_norm, field.KEY_NORM)]
    for head_norm, place in head_norms:
        if head_norm is not None:
            yield _head_norm(head_norm.weight, (place, index))
    for product, place, order, rows, columns in (
        (layer.qkv, field.QKV, joined, projected, hidden),
        (layer.output, field.OUTPUT, spread, hidden, width),
        (layer.gate_up, field.GATE_UP, *_expansion(layer, inner), hidden),
        (layer.down, field.DOWN, _unchanged, hidden, inner),
    ):
        shape = (rows, columns)
        yield from _product(product, place, index, order=order, shape=shape, bits=bits)


def _expansion(layer: LoweredLayer, inner: int) -> tuple[Callable[[Array], Array], int]:
    """The order of the rows of gate and up, or of up alone, and how many they are."""
    return (gate_and_up, 2 * inner) if layer.gate_up.is_gated else (_unchanged, inner)


def _product(
    product: Product,
    place: LayerField,
    index: int,
    *,
    order: Callable[[Array], Array],
    shape: tuple[int, int],
    bits: int,
) -> Iterator[Part]:
    rows, columns = shape
    scales = rows if bits == 8 else rows * columns // GROUP
    yield Part(
        places=(((place, index),), ((LayerField(place + 1), index),)),
        sizes=(rows * columns * bits // 8, 4 * scales),
        names=tuple(weight.name for weight in product.weights),
        make=partial(_matrix, order, rows, columns, bits),
    )
    if product.biases:
        rows_in_order = _unchanged if place == LayerField.OUTPUT else order
        yield Part(
            places=(((LayerField(place + 2), index),),),
            sizes=(4 * rows,),
            names=tuple(bias.name for bias in product.biases),
            make=partial(_bias, rows_in_order, rows),
        )


def _vector(weight: RecordedWeight, place: Place) -> Part:
    size = padded(weight.shape[0])
    return Part(
        places=((place,),),
        sizes=(4 * size,),
        names=(weight.name,),
        make=partial(_bias, _unchanged, size),
    )


def _norm(network: LoweredNetwork, norm: Norm, place: Place, bias_place: Place) -> Iterator[Part]:
    """The weight of a norm, and of a LayerNorm its bias, which is zeros where it has none."""
    yield _vector(norm.weight, place)
    if norm.bias is not None:
        yield _vector(norm.bias, bias_place)
    elif network.layer_norm:
        size = padded(norm.weight.shape[0])
        yield Part(
            places=((bias_place,),),
            sizes=(4 * size,),
            names=(),
            make=lambda _: (np.zeros(size, np.float32),),
        )


def _positions(weight: RecordedWeight, width: int, count: int) -> Part:
    """The learned positions that sequences can have, in f32."""
    return Part(
        places=(((FileField.POSITION_TABLE, 0),),),
        sizes=(4 * padded(width) * count,),
        names=(weight.name,),
        make=lambda stored: (pad(stored[0][:count], count, padded(width)),),
    )


def _head_norm(weight: RecordedWeight, place: Place) -> Part:
    size = padded(weight.shape[0])
    return Part(
        places=((place,),),
        sizes=(4 * size,),
        names=(weight.name,),
        make=partial(_bias, partial(pad_heads, num_heads=1, by_halves=True), size),
    )


def _unchanged(values: Array) -> Array:
    return values


def _spread_columns(values: Array, *, num_heads: int) -> Array:
    return pad_heads(values.T, num_heads=num_heads, by_halves=False).T


def _matrix(
    order: Callable[[Array], Array], rows: int, columns: int, bits: int, stored: Sequence[Array]
) -> Made:
    values = order(stored[0] if len(stored) == 1 else np.concatenate(stored))
    return pack(pad(values, rows, columns), bits)


def _bias(order: Callable[[Array], Array], size: int, stored: Sequence[Array]) -> Made:
    return (pad(order(np.concatenate(stored)), size),)


def _rotary(frequencies: tuple[float, ...], num_positions: int, _: Sequence[Array]) -> Made:
    return (rotary_table(frequencies, num_positions=num_positions),)
