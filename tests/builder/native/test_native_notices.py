"""The reference notices each part of a network that an engine would leave out or take wrongly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import needs_native  # noqa: F401
import numpy as np
import pytest
from llmasos_builder.architectures import Decoder
from native_plans import (
    BLOOM,
    GEMMA2_FIELDS,
    GEMMA3_FIELDS,
    SMALL_LLAMA,
    Logits,
    build,
    loaded,
    packed,
    random_weights,
    reference,
    spec_of,
)

TOKENS = [(5 * i + i * i) % 131 for i in range(50)]
GEMMA3 = SMALL_LLAMA | GEMMA3_FIELDS
GEMMA2 = SMALL_LLAMA | GEMMA2_FIELDS
SLOPES = (2**-2.0, 2**-4.0, 2**-6.0)


def renamed(spec: Decoder, **names: Any) -> Decoder:
    return replace(spec, names=replace(spec.names, **names))


NOTICED: dict[str, tuple[dict[str, Any], list[Decoder]]] = {
    "norms behind a part": (
        GEMMA3,
        [
            renamed(spec_of(GEMMA3), attention_output_norm=None),
            renamed(spec_of(GEMMA3), mlp_output_norm=None),
            renamed(
                spec_of(GEMMA3),
                attention_output_norm=spec_of(GEMMA3).names.mlp_output_norm,
                mlp_output_norm=spec_of(GEMMA3).names.attention_output_norm,
            ),
        ],
    ),
    "soft caps": (
        GEMMA2,
        [
            replace(spec_of(GEMMA2), attention_cap=None),
            replace(spec_of(GEMMA2), logit_cap=None),
            replace(spec_of(GEMMA2), attention_cap=3.0, logit_cap=5.0),
        ],
    ),
    "ALiBi and a norm of embeddings": (
        BLOOM,
        [
            renamed(spec_of(BLOOM), embedding_norm=None),
            replace(spec_of(BLOOM), attention_slopes=(0.0,) * 3),
            replace(spec_of(BLOOM), attention_slopes=SLOPES),
        ],
    ),
}


@pytest.mark.parametrize("what", NOTICED)
def test_what_a_reference_has_otherwise_is_noticed(what: str, tmp_path: Path) -> None:
    config, others = NOTICED[what]
    spec = spec_of(config)
    weights = random_weights(spec)
    with loaded(build(spec, weights, tmp_path), tmp_path) as forward:
        found: Logits = forward.logits(packed([(TOKENS, 0, [3, 1])])).copy()

    def share(of: Decoder) -> float:
        expected = reference(of, weights, TOKENS)
        return float(np.mean(np.abs(found - expected) < 1e-3 * expected.std()))

    assert share(spec) > 0.5
    for other in others:
        assert share(other) < 0.2
