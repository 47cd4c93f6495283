"""Plans how each weight of a decoder is sliced (Megatron-LM, Shoeybi et al., arXiv:1909.08053).

Linears that feed attention or an MLP are sliced by their outputs: whole heads, and equal parts of
an MLP's inner width. The linears after them are sliced by their inputs, so that the ranks' results
add up to the whole. The embedding and the output head are sliced by the vocabulary if that divides;
otherwise they are whole on every rank, as everything else is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmasos_builder.architectures.decoder.spec import DecoderSpec
from llmasos_builder.tensorrt.parallel.rank import Rank
from llmasos_builder.tensorrt.weight_slice import WeightSlice

_EXACT_IDS = 1 << 24  # ranks exchange token ids in f32


def tensor_parallel_plan(spec: DecoderSpec, rank: Rank) -> Mapping[str, WeightSlice]:
    """Returns the slices by the name of a weight or bias; any other is whole on every rank.

    The sizes must divide (`check_divides`).
    """
    if rank.parts == 1:
        return {}
    slices: dict[str, WeightSlice] = {}
    if spec.vocab_size % rank.parts == 0 and spec.vocab_size <= _EXACT_IDS:
        vocabulary = WeightSlice(rows=(rank.share(spec.vocab_size),))
        slices |= {f"{name}.weight": vocabulary for name in (spec.names.embedding, spec.names.head)}
    for layer in rank.layers(spec.num_layers):
        prefix = spec.names.layer.format(layer)
        slices |= {prefix + name: kept for name, kept in _of_layer(spec, rank).items()}
    return slices


def _of_layer(spec: DecoderSpec, rank: Rank) -> Mapping[str, WeightSlice]:
    names, inner = spec.names, spec.intermediate_size
    counts = (spec.num_heads, spec.num_kv_heads, spec.num_kv_heads)
    heads = [_times(rank.heads(count), spec.head_size) for count in counts]
    of_heads = _rows(names.attention_inputs, heads, [n * spec.head_size for n in counts])
    widths = [inner, inner] if spec.gated else [inner]
    of_mlp = _rows(names.mlp_inputs, [rank.share(inner) for _ in widths], widths)
    return {
        **{
            f"{name}.{part}": weight_slice
            for name, weight_slice in of_heads.items()
            for part in ("weight", "bias")
        },
        **{
            f"{name}.{part}": weight_slice
            for name, weight_slice in of_mlp.items()
            for part in ("weight", "bias")
        },
        f"{names.attention_output}.weight": WeightSlice(columns=heads[0]),
        f"{names.mlp_output}.weight": WeightSlice(columns=rank.share(inner)),
    }


def _rows(
    names: Sequence[str], kept: Sequence[range], widths: Sequence[int]
) -> Mapping[str, WeightSlice]:
    """Returns slices of projections that are stored separately, or as one under one name."""
    if len(names) == len(widths):
        return {name: WeightSlice(rows=(rows,)) for name, rows in zip(names, kept, strict=True)}
    (name,) = names
    starts = [sum(widths[:index]) for index in range(len(widths))]
    shifted = [
        range(start + rows.start, start + rows.stop)
        for start, rows in zip(starts, kept, strict=True)
    ]
    return {name: WeightSlice(rows=tuple(shifted))}


def _times(heads: range, size: int) -> range:
    return range(heads.start * size, heads.stop * size)
