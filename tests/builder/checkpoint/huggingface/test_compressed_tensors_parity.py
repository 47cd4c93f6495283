"""Matrices that the compressed-tensors library itself has packed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
from quantized_checkpoints import COMPRESSED, weights_of


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [32, None])
def test_what_the_library_packs_is_read_bit_for_bit(
    symmetric: bool, bits: int, group: int | None, tmp_path: Path
) -> None:
    compressors: Any = pytest.importorskip("compressed_tensors.compressors")
    quantization: Any = pytest.importorskip("compressed_tensors.quantization")
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(48, 96, generator=generator)
    groups = 1 if group is None else 96 // group
    scale = torch.rand(48, groups, generator=generator) + 0.05
    zero = torch.randint(-3, 4, (48, groups), generator=generator, dtype=torch.int8)
    arguments = quantization.QuantizationArgs(
        num_bits=bits,
        type="int",
        symmetric=symmetric,
        strategy="channel" if group is None else "group",
        group_size=group,
    )
    scheme = quantization.QuantizationScheme(targets=["Linear"], weights=arguments)
    compressor = compressors.PackedQuantizationCompressor
    stored = {"weight": weight, "weight_scale": scale}
    if not symmetric:
        stored["weight_zero_point"] = zero
    packed = compressor.compress(stored, scheme)
    expected = compressor.decompress(packed, scheme)["weight"].numpy()
    parts = {name: values.numpy() for name, values in packed.items()}
    weights = weights_of(tmp_path, COMPRESSED, **parts)
    assert np.array_equal(weights.load("model.a.weight"), expected)
    assert weights.bits() == {"model.a.weight": bits}
