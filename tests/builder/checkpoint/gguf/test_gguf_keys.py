"""Every key of a GGUF file that could change the computation does so, or is refused by name.

Expected values are those of config.json's own words for the same network, which the parity tests
compare with transformers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from llmasos.errors import CheckpointError, UnsupportedArchitectureError
from llmasos_builder.architectures import (
    DecoderSpec,
    decoder_spec,
    warning_of_unread_fields,
)
from llmasos_builder.checkpoint import open_checkpoint
from llmasos_builder.checkpoint.gguf.config import CONFIGS, read_config
from llmasos_builder.checkpoint.gguf.file import GGUFFile
from llmasos_builder.checkpoint.gguf.keys import NEUTRAL
from llmasos_builder.checkpoint.gguf.metadata import is_one_of
from made_gguf import (
    CONTEXT,
    HEADS,
    HIDDEN,
    INNER,
    KV_HEADS,
    llama_tensors,
    llama_weights,
    write_gguf,
)

HEAD_SIZE = HIDDEN // HEADS
# Notes, sizes that the tensors' shapes confirm, and the epsilon of the kind of norm that a
# network does not have.
SAY_NOTHING = {
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "feed_forward_length",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "vocab_size",
}


def keys_of(table: type) -> Iterator[str]:
    for value in vars(table).values():
        if isinstance(value, type):
            yield from keys_of(value)
        elif isinstance(value, str) and value.startswith("{arch}."):
            yield value.removeprefix("{arch}.").replace("{dense}", "dense_2")


OLDER_KEYS = ["rope.scale_linear", "rope.scale", "attention.some_day", "some_day"]
KEYS = sorted({*keys_of(gguf.Keys), *OLDER_KEYS})


def made(directory: Path, architecture: str, **changes: Any) -> GGUFFile:
    """A file with all metadata that the architecture needs, and the embedding alone."""
    sizes = {
        "context_length": CONTEXT,
        "embedding_length": HIDDEN,
        "feed_forward_length": INNER,
        "block_count": 2,
        "attention.head_count": HEADS,
        "attention.head_count_kv": None,
        "attention.layer_norm_epsilon": 1e-5,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": None,
    }
    values = {f"{architecture}.{key}": value for key, value in (sizes | changes).items()}
    tensors = {"token_embd.weight": np.zeros((259, HIDDEN), np.float32)}
    return GGUFFile(
        write_gguf(directory / "m.gguf", tensors, architecture=architecture, values=values)
    )


def spec_of(file: GGUFFile, **values: Any) -> DecoderSpec:
    """values: metadata without the architecture's name in front, __ for a dot."""
    kept, architecture = dict(file.metadata), file.metadata["general.architecture"]
    given = {key.replace("__", "."): value for key, value in values.items()}
    file.metadata |= {f"{architecture}.{key}": value for key, value in given.items()}
    try:
        return decoder_spec(read_config(file))
    finally:
        file.metadata = kept


def refusal(file: GGUFFile, **values: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        spec_of(file, **values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("architecture", sorted(CONFIGS))
def test_no_key_that_gguf_knows_is_left_out_without_a_word(
    architecture: str, tmp_path: Path
) -> None:
    two_kinds = {
        "attention.sliding_window": 20,
        "attention.sliding_window_pattern": [True, False],
    }
    file = made(tmp_path, architecture, **two_kinds if architecture in {"gemma2", "gemma3"} else {})
    plain, silent = spec_of(file), set()
    for key in KEYS:
        for value in (3, 3.0, "odd", True, [3] * 2):
            try:
                changed = spec_of(file, **{key: value}) != plain
            except CheckpointError as error:
                assert "\n" not in str(error)
                changed = True
            if not changed and not is_one_of(value, NEUTRAL.get(key, ())):
                silent.add(key)
    harmless = set(SAY_NOTHING)
    if plain.rotary_frequencies is None:
        harmless |= {key for key in silent if key.startswith("rope.")}
    if architecture == "gptneox":
        harmless.add("use_parallel_residual")  # true is what it has already
    assert silent <= harmless


@pytest.mark.parametrize("architecture", sorted(CONFIGS))
def test_a_key_with_the_value_that_changes_nothing_is_accepted(
    architecture: str, tmp_path: Path
) -> None:
    file = made(tmp_path, architecture)
    read = {"attn_logit_softcapping", "final_logit_softcapping", "use_parallel_residual"}
    neutral = {key: values[0] for key, values in NEUTRAL.items() if key not in read}
    neutral |= {"attention.head_count_kv": 1 if architecture == "falcon" else HEADS}
    if architecture == "bloom":
        neutral |= {"attention.max_alibi_bias": 8.0}
    assert spec_of(file, **neutral) == spec_of(file)


@pytest.mark.parametrize("architecture", sorted(CONFIGS))
def test_all_that_a_file_says_is_read(architecture: str, tmp_path: Path) -> None:
    assert warning_of_unread_fields(read_config(made(tmp_path, architecture))) is None


@pytest.mark.parametrize(
    "architecture", ["falcon", "gemma", "gemma2", "gemma3", "gptneox", "llama", "qwen2", "qwen3"]
)
def test_linear_scaling_is_read_by_either_name_and_with_or_without_its_type(
    architecture: str, tmp_path: Path
) -> None:
    file = made(tmp_path, architecture, **{"attention.sliding_window_pattern": None})
    config = read_config(file) | {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}
    expected = decoder_spec(config)
    assert expected != spec_of(file)
    assert spec_of(file, rope__scale_linear=4.0) == expected
    assert spec_of(file, rope__scaling__factor=4.0) == expected
    assert spec_of(file, rope__scaling__type="linear", rope__scale_linear=4.0) == expected
    both = {"rope__scaling__factor": 4.0, "rope__scale_linear": 4.0}
    assert spec_of(file, rope__scaling__type="linear", **both) == expected
    for off in ({"rope__scale_linear": 0.0}, {"rope__scaling__factor": 1.0}):
        assert spec_of(file, **off) == spec_of(file)
    assert spec_of(file, rope__scaling__type="none", rope__scale_linear=4.0) == spec_of(file)


def test_two_factors_that_disagree_are_refused_with_both_values(tmp_path: Path) -> None:
    message = refusal(made(tmp_path, "llama"), rope__scale_linear=4.0, rope__scaling__factor=2.0)
    assert "llama.rope.scale_linear is 4.0, only 2.0 is supported" in message


def test_the_base_of_every_rotary_network_is_read(tmp_path: Path) -> None:
    for architecture in sorted(CONFIGS.keys() - {"bloom", "gpt2"}):
        spec = spec_of(made(tmp_path, architecture), rope__freq_base=500.0)
        frequencies = (spec.layer_rotary_frequencies or (spec.rotary_frequencies,))[-1]
        assert frequencies is not None
        if architecture != "gemma3":
            expected = 500.0 ** (-1 / len(frequencies))
            assert frequencies[1] == pytest.approx(expected, rel=1e-12), architecture


def test_the_two_bases_of_a_gemma3_are_read(tmp_path: Path) -> None:
    file = made(tmp_path, "gemma3", **{"attention.sliding_window": 20})
    pattern = {"attention.sliding_window_pattern": [True, False]}
    spec = spec_of(file, rope__freq_base=500.0, rope__freq_base_swa=50.0, **pattern)
    near, wide = spec.layer_rotary_frequencies or ((), ())
    assert (near[1], wide[1]) == pytest.approx((50.0 ** (-1 / 128), 500.0 ** (-1 / 128)))
    assert spec.attention_windows == (20, None)


@pytest.mark.parametrize(
    ("pattern", "windows"),
    [
        (1, None),
        (2, (20, None)),
        (3, (20, 20)),
        (0, (20, 20)),
        ([False, True], (None, 20)),
        ([0, 1], (None, 20)),
    ],
)
def test_the_pattern_of_windows_is_llama_cpps(
    pattern: Any, windows: tuple[int | None, ...] | None, tmp_path: Path
) -> None:
    file = made(tmp_path, "gemma2", **{"attention.sliding_window": 20})
    spec = spec_of(file, **{"attention.sliding_window_pattern": pattern})
    assert spec.attention_windows == windows
    message = refusal(file, **{"attention.sliding_window_pattern": [True] * 3})
    assert "sliding_window_pattern has 3 entries for 2 layers" in message


def test_yarn_scales_scores_as_llama_cpp_does(tmp_path: Path) -> None:
    file = made(tmp_path, "llama")
    yarn = {"rope__scaling__type": "yarn", "rope__scaling__factor": 4.0}
    usual = spec_of(file, **yarn)
    growth = 0.1 * math.log(4) + 1
    assert usual.rotary_scale == pytest.approx(growth**2)
    more = spec_of(file, **yarn, rope__scaling__attn_factor=1.5)
    assert more.rotary_scale == pytest.approx((1.5 * growth) ** 2)
    says_its_defaults = {
        "rope__scaling__yarn_beta_fast": 32.0,
        "rope__scaling__yarn_beta_slow": 1.0,
        "rope__scaling__yarn_ext_factor": 1.0,
        "rope__scaling__yarn_attn_factor": float(np.float32(growth)),
        "rope__scaling__yarn_log_multiplier": 0.0,
    }
    assert spec_of(file, **yarn, **says_its_defaults) == usual
    for key in says_its_defaults:
        message = refusal(file, **yarn, **says_its_defaults | {key: 7.0})
        assert f"llama.{key.replace('__', '.')} is 7.0" in message


def test_a_scale_of_the_scores_alone_is_refused(tmp_path: Path) -> None:
    message = refusal(made(tmp_path, "llama"), rope__scaling__attn_factor=2.0)
    assert "llama.rope.scaling.attn_factor is 2.0, only 1.0 is supported" in message


@pytest.mark.parametrize("factor", [-1.0, float("nan"), float("inf")])
def test_a_factor_that_is_none_is_named(factor: float, tmp_path: Path) -> None:
    message = refusal(made(tmp_path, "llama"), rope__scaling__factor=factor)
    assert "llama.rope.scaling.factor must be a number above 0" in message


def test_factors_of_llama_3_beside_a_scaling_are_refused(tmp_path: Path) -> None:
    factors = np.ones(HEAD_SIZE // 2, np.float32)
    tensors = llama_tensors(llama_weights()) | {"rope_freqs.weight": factors}
    values = {"llama.rope.scale_linear": 4.0}
    path = write_gguf(tmp_path / "m.gguf", tensors, values=values)
    with pytest.raises(UnsupportedArchitectureError, match=r"both rope_freqs.weight and llama"):
        open_checkpoint(path)


def test_factors_that_a_gemma_would_not_use_are_refused(tmp_path: Path) -> None:
    tensors = llama_tensors(llama_weights())
    tensors["rope_freqs.weight"] = np.full(HEAD_SIZE // 2, 2.0, np.float32)
    values = {"gemma.attention.key_length": HEAD_SIZE}
    path = write_gguf(tmp_path / "m.gguf", tensors, architecture="gemma", values=values)
    with pytest.raises(CheckpointError, match=r"rope_freqs.weight, which gemma does not have"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("architecture", "values", "message"),
    [
        ("llama", {"logit_scale": 0.5}, "llama.logit_scale is 0.5, which is not supported for"),
        ("qwen3", {"pooling_type": 3}, "qwen3.pooling_type is 3"),
        ("llama", {"attention.causal": False}, "llama.attention.causal is False"),
        ("llama", {"attention.value_length": 8}, "attention.value_length is 8, only 16"),
        ("llama", {"attention.sliding_window": 20}, "llama.attention.sliding_window is 20"),
        ("phi3", {"attention.key_length": 8}, "phi3.attention.key_length is 8, only 16"),
        ("bloom", {"attention.head_count_kv": KV_HEADS}, "head_count_kv is 2, only 4"),
        ("bloom", {"attention.max_alibi_bias": 4.0}, "bloom.attention.max_alibi_bias is 4.0"),
        ("falcon", {"expert_count": 8}, "is a mixture of experts"),
        ("gemma2", {"rope.freq_base_swa": 5.0}, "gemma2.rope.freq_base_swa is 5.0, only 10000.0"),
        ("gemma2", {"attn_logit_softcapping": 0.0}, "attn_logit_softcapping must be a number"),
        ("llama", {"tensor_data_layout": "odd"}, "llama.tensor_data_layout is 'odd'"),
        ("gemma", {"rope.dimension_count": 8}, "rotates a part of each head"),
    ],
)
def test_what_is_not_supported_is_named(
    architecture: str, values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    assert message in refusal(made(tmp_path, architecture), **values)


def test_a_window_that_no_text_fills_is_none(tmp_path: Path) -> None:
    file = made(tmp_path, "llama")
    for window in (0, CONTEXT, 2 * CONTEXT):
        assert spec_of(file, attention__sliding_window=window) == spec_of(file)


def test_keys_of_other_namespaces_are_notes_unless_they_compute(tmp_path: Path) -> None:
    file = made(tmp_path, "llama")
    plain = spec_of(file)
    file.metadata |= {"general.made_up": 3, "quantize.imatrix.file": "x", "someone.version": 2}
    assert spec_of(file) == plain
    for key, value in {"adapter.type": "lora", "general.type": "mmproj"}.items():
        file.metadata[key] = value
        assert f"{key} is '{value}', which is not supported" in refusal(file)
        del file.metadata[key]
