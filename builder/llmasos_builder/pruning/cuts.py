"""Which rows and columns of each tensor stay, and what the tensors are called then."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmasos_builder.checkpoint import Weights
from llmasos_builder.checkpoint.huggingface.safetensors_file import DTYPES, write_safetensors
from llmasos_builder.graph import Array

Kept = NDArray[np.int64]
_LAYER = re.compile(r"(?P<before>.*\blayers\.)(?P<index>\d+)(?P<after>\..+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """axes: of tensors by name, an axis and the places on it that stay. layers: that stay."""

    axes: Mapping[str, tuple[int, Kept]]
    layers: Kept

    def name_of(self, name: str) -> str | None:
        """What a tensor is called afterwards; None where its layer is left out."""
        found = _LAYER.fullmatch(name)
        if found is None:
            return name
        places = np.flatnonzero(self.layers == int(found["index"]))
        return f"{found['before']}{places[0]}{found['after']}" if len(places) else None

    def write(self, path: Path, weights: Weights) -> int:
        """Writes what stays as safetensors, and returns the number of its values."""
        names = {new: n for n in sorted(weights.names()) if (new := self.name_of(n)) is not None}
        shapes = {new: self._shape(weights.shape(n), n) for new, n in names.items()}

        def load(new: str) -> Array:
            values = weights.load(names[new])
            axis, kept = self.axes.get(names[new], (0, None))
            stays = values if kept is None else values.take(kept, axis=axis)
            return stays.astype(DTYPES["F32"], copy=False)

        entries = {name: ("F32", shape) for name, shape in shapes.items()}
        write_safetensors(path, entries, load)
        return sum(int(np.prod(shape)) for shape in shapes.values())

    def _shape(self, shape: tuple[int, ...], name: str) -> tuple[int, ...]:
        if name not in self.axes:
            return tuple(shape)
        axis, kept = self.axes[name]
        return (*shape[:axis], len(kept), *shape[axis + 1 :])


def mlp_cuts(prefix: str, energy: NDArray[np.float64], width: int) -> dict[str, tuple[int, Kept]]:
    """The cuts of one gated MLP, whose neurons of the most energy stay."""
    kept = _largest(energy, width)
    inputs = {f"{prefix}.mlp.{name}.weight": (0, kept) for name in ("gate_proj", "up_proj")}
    return {**inputs, f"{prefix}.mlp.down_proj.weight": (1, kept)}


def attention_cuts(
    prefix: str, energy: NDArray[np.float64], *, num_groups: int, kept_groups: int, head_dim: int
) -> dict[str, tuple[int, Kept]]:
    """The cuts of one attention: key and value heads stay with all query heads that read them.

    energy: of the inputs of o_proj, [query heads * head_dim].
    """
    per_group = len(energy) // num_groups
    groups = _largest(energy.reshape(num_groups, per_group).sum(axis=1), kept_groups)
    queries, keys = _expanded(groups, per_group), _expanded(groups, head_dim)
    cuts: dict[str, tuple[int, Kept]] = {f"{prefix}.self_attn.o_proj.weight": (1, queries)}
    for name, kept in (("q", queries), ("k", keys), ("v", keys)):
        for kind in ("weight", "bias"):
            cuts[f"{prefix}.self_attn.{name}_proj.{kind}"] = (0, kept)
    return cuts


def _largest(values: NDArray[np.float64], number: int) -> Kept:
    return np.sort(np.argsort(-values, kind="stable")[:number])


def _expanded(groups: Kept, size: int) -> Kept:
    return (groups[:, None] * size + np.arange(size)).ravel()
