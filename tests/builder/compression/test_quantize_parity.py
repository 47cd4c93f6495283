"""What is written, as transformers reads it with the compressed-tensors library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
from llmasos_builder.architectures import network_of
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.compression.formats import format_of
from llmasos_builder.compression.quantize import quantize
from llmasos_builder.compression.quantize_options import QuantizeOptions
from llmasos_builder.compression.streaming import stream
from tiny import write_tiny_llama
from transformers import AutoModelForCausalLM

IDS = np.random.default_rng(0).integers(32, 120, (2, 12))


@pytest.mark.parametrize(
    ("format_name", "options"),
    [
        ("W4A16", {}),
        ("W4A16", {"group_size": 32}),
        ("W8A16", {}),
    ],
)
def test_transformers_computes_the_same_logits(
    format_name: str, options: Any, tmp_path: Path
) -> None:
    pytest.importorskip("compressed_tensors")
    output = tmp_path / "out"
    quantize(
        open_checkpoint(write_tiny_llama(tmp_path / "dense")),
        output,
        QuantizeOptions(
            format=format_of(format_name, **options), method="mse", ignore=("down_proj",)
        ),
        lambda _stage, _done, _total: None,
    )
    model = AutoModelForCausalLM.from_pretrained(output, dtype=torch.float32)
    with torch.no_grad():
        theirs = model(torch.tensor(IDS)).logits.numpy()
    checkpoint = open_checkpoint(output)
    ours = stream(network_of(checkpoint.config), checkpoint.weights, IDS)
    for index in range(len(IDS)):
        np.testing.assert_allclose(ours.logits_of(index), theirs[index], atol=2e-4)
