"""Every kind of rotary positions is transformers' own, or its wrong parameter is named."""

from __future__ import annotations

from typing import Any

import needs_torch  # noqa: F401
import numpy as np
import pytest
from family_networks import FALCON, GEMMA, GEMMA3, PHI3, QWEN2, QWEN3
from llmasos.errors import CheckpointError
from networks import LLAMA
from specs import spec_of
from transformers import ROPE_INIT_FUNCTIONS, AutoConfig

LONG: dict[str, Any] = {"max_position_embeddings": 512}
SHORT_FACTOR = [1.0 + i / 10 for i in range(8)]
LONG_FACTOR = [2.0 + i for i in range(8)]
LONGROPE = {"rope_type": "longrope", "short_factor": SHORT_FACTOR, "long_factor": LONG_FACTOR}


def theirs(config: dict[str, Any], *, length: int | None = None) -> tuple[Any, float]:
    """Frequencies, and by what transformers multiplies cosines and sines."""
    loaded = AutoConfig.for_model(**config)
    kind = loaded.rope_parameters["rope_type"]
    frequencies, factor = ROPE_INIT_FUNCTIONS[kind](loaded, seq_len=length)
    return frequencies.numpy(), factor


@pytest.mark.parametrize(
    "parameters",
    [
        {"factor": 4.0, "original_max_position_embeddings": 128},
        {"factor": 4.0, "original_max_position_embeddings": 128, "truncate": False},
        {"factor": 8.0, "beta_fast": 24, "beta_slow": 2, "original_max_position_embeddings": 64},
        {"factor": 4.0, "attention_factor": 1.5, "original_max_position_embeddings": 128},
        {"factor": 40.0, "mscale": 1.0, "mscale_all_dim": 0.7},
        {"factor": 0.5},
        {"factor": 4.0, "beta_fast": 1.0, "beta_slow": 1.0},
    ],
)
def test_yarn_is_transformers(parameters: dict[str, Any]) -> None:
    config = {**QWEN2, **LONG, "rope_parameters": {"rope_type": "yarn", **parameters}}
    spec = spec_of(config)
    frequencies, factor = theirs(config)
    np.testing.assert_allclose(spec.rotary_frequencies or (), frequencies, rtol=2e-6)
    assert spec.rotary_scale == pytest.approx(factor**2, rel=1e-12)
    older = {"type": "yarn", **parameters}
    assert spec_of({**QWEN2, **LONG}, rope_scaling=older) == spec


def test_yarn_stretches_the_length_that_a_network_was_trained_for() -> None:
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
    spec = spec_of(QWEN2, rope_scaling=scaling)
    assert spec.max_position_embeddings == spec.usual_length == 512
    assert spec_of(QWEN2, **LONG, rope_scaling=scaling) == spec
    window = {"use_sliding_window": True, "max_window_layers": 0, "sliding_window": 200}
    assert spec_of(QWEN2, **window).attention_windows is None
    assert spec_of(QWEN2, **window, rope_scaling=scaling).attention_windows == (200,) * 3


@pytest.mark.parametrize("changes", [{}, {"factor": 3.0}, {"attention_factor": 1.25}])
@pytest.mark.parametrize("name", ["longrope", "su"])
def test_longrope_is_transformers_for_short_texts_and_for_long_ones(
    changes: dict[str, Any], name: str
) -> None:
    lengths = LONG | {"original_max_position_embeddings": 128}
    config = {**PHI3, **lengths, "rope_parameters": LONGROPE | changes}
    spec = spec_of(PHI3, **lengths, rope_scaling=LONGROPE | changes | {"rope_type": name})
    assert (spec.usual_length, spec.max_position_embeddings) == (128, 512)
    for length in (1, 128, 129, 512):
        frequencies, factor = theirs(config, length=length)
        own = spec.for_length(length)
        np.testing.assert_allclose(own.rotary_frequencies or (), frequencies, rtol=1e-6)
        assert own.rotary_scale == pytest.approx(factor**2, rel=1e-12)
        assert own.long_rotary is None and own.for_length(512) == own


def test_a_network_that_was_not_stretched_has_no_long_frequencies() -> None:
    spec = spec_of(PHI3, rope_scaling=LONGROPE)
    assert (spec.rotary_scale, spec.long_rotary, spec.usual_length) == (1.0, None, 128)


def test_a_dynamic_kind_changes_nothing_within_the_trained_length() -> None:
    config = {**LLAMA, "rope_parameters": {"rope_type": "dynamic", "factor": 4.0}}
    spec = spec_of(config)
    np.testing.assert_allclose(spec.rotary_frequencies or (), theirs(config, length=128)[0])
    assert spec == spec_of(LLAMA)


def test_llama3_takes_its_original_length_from_where_transformers_does() -> None:
    parameters = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}
    config = {**LLAMA, "rope_parameters": parameters | {"high_freq_factor": 4.0}}
    frequencies, _ = theirs(config)
    np.testing.assert_allclose(spec_of(config).rotary_frequencies or (), frequencies, rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "parameters", "message"),
    [
        (LLAMA, {"rope_type": "dynamic"}, "rope_parameters has no factor"),
        (LLAMA, {"rope_type": "yarn", "factor": "4"}, "factor must be a number above 0, got '4'"),
        (LLAMA, {"rope_type": "yarn", "factor": 4.0, "extra": 1}, "extra is 1, which yarn rotary"),
        (LLAMA, {"rope_type": "yarn", "factor": 4.0, "truncate": 1}, "truncate must be true or"),
        (LLAMA, LONGROPE | {"short_factor": [1.0]}, "short_factor must be 8 numbers above 0"),
        (LLAMA, LONGROPE | {"long_factor": [0.0] * 8}, "long_factor must be 8 numbers above 0"),
        (LLAMA, LONGROPE | {"long_factor": None}, "long_factor must be 8 .* above 0, got None"),
        (LLAMA, {"rope_type": "yarn"}, "rope_parameters has no factor"),
        (PHI3, {"rope_type": "yarn", "factor": 4.0}, "'yarn', default, longrope are supported"),
        (GEMMA, {"rope_type": "yarn", "factor": 4.0}, "'yarn', default, linear, dynamic, llama3 "),
        (FALCON, LONGROPE, "'longrope', default, linear, dynamic, llama3 are supported"),
        (
            GEMMA3,
            {"full_attention": {"rope_type": "yarn", "factor": 4.0}},
            "rope_type is 'yarn', default, linear, dynamic, llama3 are supported",
        ),
    ],
)
def test_a_wrong_rotary_parameter_is_named(
    config: dict[str, Any], parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        spec_of(config, rope_parameters=parameters)
    assert "\n" not in str(caught.value)


def test_scores_are_scaled_whole_where_heads_are_rotated_whole() -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "attention_factor": 2.0}
    spec = spec_of(QWEN3, rope_scaling=scaling)
    assert spec.scores(1).scale == pytest.approx(4 * 128**-0.5)
    part = spec_of(
        PHI3,
        partial_rotary_factor=0.5,
        rope_scaling={
            "rope_type": "longrope",
            "attention_factor": 2.0,
            "short_factor": [1.0] * 4,
            "long_factor": [1.0] * 4,
        },
    )
    assert part.rotary_scale == 4 and part.scores(1).scale == 16**-0.5
