"""Whatever config.json says, LLMasOS computes what transformers does of it, or refuses by name.

The fields are those that transformers' config class of each family has, by all their names, and
the base and parameters of rotary positions in every form. What is run by default changes each
once; what is marked slow changes each to null, to other types and to extremes, and gives every
family the fields of all others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import config_sweep
import pytest
from config_sweep import FAMILIES, Raw, difference, fields_of, others, spec_or_refusal, theirs
from llmasos_builder.architectures import DecoderSpec, warning_of_unread_fields
from llmasos_builder.architectures.notes import NOTES, is_note
from transformers import AutoConfig

# What says nothing about the logits: how a network is trained, sampled from, shown and stored.
HARMLESS: Raw = {
    "_commit_hash": "0123",
    "_name_or_path": "/somewhere/else",
    "_attn_implementation_autoset": True,
    "dtype": "float16",
    "torch_dtype": "bfloat16",
    "activation_dropout": 0.3,
    "skip_bias_add_qkv": True,
    "skip_bias_add": True,
    "reorder_and_upcast_attn": True,
    "offset_alibi": 3,
    "name_or_path": "/x",
    "n_ctx": 8,
    "masked_softmax_fusion": True,
    "is_llama_config": True,
    "bias_dropout_fusion": True,
    "attention_softmax_in_fp32": True,
    "_sliding_window_pattern": 3,
    "_num_labels": 3,
    "attention_dropout": 0.3,
    "attn_pdrop": 0.3,
    "auto_map": {"AutoModelForCausalLM": "modeling.Other"},
    "bos_token_id": 7,
    "cache_implementation": "hybrid",
    "chunk_size_feed_forward": 4,
    "classifier_dropout": 0.3,
    "dropout": 0.3,
    "embd_pdrop": 0.3,
    "embed_dropout": 0.3,
    "eos_token_id": [8, 9],
    "finetuning_task": "x",
    "gradient_checkpointing": True,
    "hidden_dropout": 0.3,
    "id2label": {"0": "a", "1": "b", "2": "c"},
    "init_std": 0.7,
    "initializer_range": 0.7,
    "is_decoder": True,
    "label2id": {"a": 0, "b": 1, "c": 2},
    "layerdrop": 0.9,
    "output_attentions": False,
    "output_hidden_states": True,
    "pad_token_id": 5,
    "prefix": "x",
    "pretraining_tp": 2,
    "problem_type": "regression",
    "repetition_penalty": 2.0,
    "resid_dropout": 0.3,
    "resid_pdrop": 0.3,
    "return_dict": True,
    "summary_activation": "tanh",
    "summary_first_dropout": 0.3,
    "summary_proj_to_labels": False,
    "summary_type": "mean",
    "summary_use_proj": False,
    "task_specific_params": {"text-generation": {"max_length": 3}},
    "temperature": 0.5,
    "tie_encoder_decoder": True,
    "tokenizer_class": "GPT2Tokenizer",
    "torchscript": True,
    "transformers.js_config": {"dtype": "q4"},
    "transformers_version": "4.1.0",
    "unk_token_id": 3,
    "unsloth_fixed": True,
    "use_cache": False,
}
EVERYWHERE: Raw = {
    "add_cross_attention": True,
    "attention_chunk_size": 4,
    "cross_attention_hidden_size": 32,
    "embedding_multiplier": 2.0,
    "is_causal": False,
    "is_encoder_decoder": True,
    "logit_scale": 0.5,
    "original_max_position_embeddings": 16,
    "partial_rotary_factor": 0.5,
    "per_layer_config": {"0": {"intermediate_size": 24}},
    "pruned_heads": {"0": [1]},
    "rope_local_base_freq": 500.0,
    "rope_theta": 500.0,
    "rotary_emb_base": 500,
    "rotary_pct": 0.5,
    "slow_but_exact": True,
    "use_bidirectional_attention": True,
}
ROPES: list[Raw] = [
    {"rope_type": "default"},
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "dynamic", "factor": 4.0},
    {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    *(
        {"rope_type": "longrope", "short_factor": [1.5] * pairs, "long_factor": [3.0] * pairs}
        for pairs in (2, 4, 8)
    ),
]
ROPE_PARAMETERS: Raw = {
    "attention_factor": 1.5,
    "beta_fast": 4,
    "beta_slow": 2,
    "factor": 2.0,
    "mscale": 1.5,
    "original_max_position_embeddings": 8,
    "partial_rotary_factor": 0.5,
    "rope_theta": 500.0,
    "some_day": 1,
    "truncate": False,
    "type": "linear",
}


# These are proven one at a time: the first names the networks, BLOOM reads the other with a field
# that is changed here.
NOT_TOGETHER = {"architectures", "slow_but_exact"}


def without(raw: Raw, field: str) -> Raw:
    return {name: value for name, value in raw.items() if name != field}


def without_all(raw: Raw, fields: Collection[str]) -> Raw:
    return {name: value for name, value in raw.items() if name not in fields}


def each_field_changed_once(family: str) -> Iterator[Raw]:
    raw, fields = FAMILIES[family], fields_of(family)
    for field, value in fields.items():
        if field in HARMLESS:
            continue
        yield without(raw, field)
        other = [v for v in others(value) if v is not None and v != value]
        if other:
            yield raw | {field: other[0]}
    for field, value in EVERYWHERE.items():
        yield raw | {field: value}


def every_form_of_rotary_positions(family: str) -> Iterator[Raw]:
    raw = FAMILIES[family]
    for rope in ROPES:
        older = without(rope, "rope_type") | {"type": rope["rope_type"]}
        for name in ("rope_scaling", "rope_parameters"):
            yield from (raw | {name: rope}, raw | {name: older})
            for place in ("rope_theta", "rotary_emb_base", "rope_local_base_freq"):
                yield raw | {name: rope, place: 500.0}
        both = {"rope_scaling": older, "rope_parameters": rope | {"rope_theta": 500.0}}
        yield from (raw | both, raw | both | {"rope_theta": 500.0})
        for kind in ("full_attention", "sliding_attention"):
            yield raw | {"rope_parameters": {kind: rope | {"rope_theta": 500.0}}}


def every_rotary_parameter(family: str) -> Iterator[Raw]:
    raw = FAMILIES[family]
    for rope in ROPES:
        for name in ("rope_scaling", "rope_parameters"):
            for parameter, value in ROPE_PARAMETERS.items():
                for other in (value, None):
                    yield raw | {name: rope | {parameter: other}}
            for parameter in rope:
                yield raw | {name: without(rope, parameter)}


def every_value_of_every_field(family: str) -> Iterator[Raw]:
    raw, fields = FAMILIES[family], HARMLESS | EVERYWHERE
    for other in FAMILIES:
        fields |= without(fields_of(other), "model_type")
    for field, value in (fields | fields_of(family)).items():
        for changed in (value, *others(value)):
            yield raw | {field: changed}


def disagreements(configs: Iterator[Raw], family: str) -> list[str]:
    raw, found = FAMILIES[family], []
    for config in configs:
        wrong = difference(config)
        if wrong is not None:
            changed = {name: v for name, v in config.items() if raw.get(name, raw) != v}
            gone = raw.keys() - config.keys()
            found.append(f"{changed}{f' without {gone}' if gone else ''}: {wrong}")
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_and_llmasos_read_the_same_network(family: str) -> None:
    assert theirs(FAMILIES[family]) is not None
    assert isinstance(spec_or_refusal(FAMILIES[family]), DecoderSpec)
    assert difference(FAMILIES[family]) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_what_says_nothing_about_the_logits_changes_none(family: str) -> None:
    raw = FAMILIES[family]
    plain, changed = theirs(raw), theirs(raw | HARMLESS)
    assert plain is not None and changed is not None
    assert (plain[0] == changed[0]).all()
    assert spec_or_refusal(raw | HARMLESS) == spec_or_refusal(raw)


def test_every_note_is_shown_to_change_nothing() -> None:
    assert HARMLESS.keys() >= NOTES - NOT_TOGETHER
    assert all(is_note(field) for field in HARMLESS)


@pytest.mark.parametrize("family", FAMILIES)
def test_fields_that_nobody_reads_are_named(family: str) -> None:
    saved = fields_of(family) | HARMLESS
    aliases = AutoConfig.for_model(**FAMILIES[family]).attribute_map
    assert warning_of_unread_fields(without_all(saved, aliases)) is None
    odd = FAMILIES[family] | {"mup_scale": 0.5, "a_note": "x", "nothing": None}
    assert warning_of_unread_fields(odd) == (
        "config.json: a_note ('x'), mup_scale (0.5): not read; the network is built as "
        f"transformers' own {odd['architectures'][0]}, which does not read them either"
    )
    assert difference(odd) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_each_field_is_transformers_or_refused(family: str) -> None:
    assert disagreements(each_field_changed_once(family), family) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_each_form_of_rotary_positions_is_transformers_or_refused(family: str) -> None:
    assert disagreements(every_form_of_rotary_positions(family), family) == []


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_each_rotary_parameter_is_transformers_or_refused(family: str) -> None:
    assert disagreements(every_rotary_parameter(family), family) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_value_of_each_field_is_transformers_or_refused(family: str) -> None:
    assert disagreements(every_value_of_every_field(family), family) == []


@pytest.mark.parametrize(
    ("family", "field", "value"),
    [
        ("llama", "rms_norm_eps", 0.5),
        ("gpt2", "scale_attn_weights", False),
        ("qwen2", "max_window_layers", 0),
        ("gemma3", "rope_local_base_freq", 5.0),
        ("falcon", "alibi", True),
    ],
)
def test_the_sweep_sees_a_field_that_is_not_read(
    family: str, field: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = FAMILIES[family] | {field: value}
    assert difference(raw) is None
    whole = config_sweep.spec_or_refusal
    monkeypatch.setattr(config_sweep, "spec_or_refusal", lambda raw: whole(without(raw, field)))
    assert "logits differ by" in str(difference(raw))
