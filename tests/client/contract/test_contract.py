from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from llmasos.contract import (
    ENGINE_INPUTS,
    ENGINE_OUTPUTS,
    ENSEMBLE_INPUTS,
    ENSEMBLE_OUTPUTS,
    MODELS,
    RepositorySettings,
    Support,
    Tensor,
    model_configs,
    write_repository_configs,
)
from llmasos.contract.config import ModelConfig
from llmasos.contract.tables import markdown_tables
from llmasos.errors import InvalidRequestError, UnsupportedFieldError
from tritonclient.grpc import model_config_pb2

ROOT = Path(__file__).parents[3]


def names(text: str) -> set[str]:
    return set(text.split())


CLASSIC_ENSEMBLE_INPUTS = names(
    """
    text_input decoder_text_input max_tokens num_return_sequences bad_words stop_words
    exclude_input_in_output end_id pad_id top_k top_p temperature length_penalty
    repetition_penalty min_tokens presence_penalty frequency_penalty seed return_log_probs
    return_context_logits return_generation_logits return_perf_metrics
    return_num_input_tokens return_num_output_tokens beam_width stream
    prompt_embedding_table prompt_table_extra_id prompt_vocab_size embedding_bias_words
    embedding_bias_weights lora_task_id lora_weights lora_config guided_decoding_guide_type
    guided_decoding_guide
    """
)
CLASSIC_OUTPUTS = names(
    """
    cum_log_probs output_log_probs context_logits generation_logits batch_index
    sequence_index kv_cache_alloc_new_blocks kv_cache_reused_blocks
    kv_cache_alloc_total_blocks arrival_time_ns first_scheduled_time_ns first_token_time_ns
    last_token_time_ns acceptance_rate total_accepted_draft_tokens total_draft_tokens
    num_input_tokens num_output_tokens
    """
)
CLASSIC_ENGINE_INPUTS = names(
    """
    input_ids encoder_input_features encoder_output_lengths input_lengths request_output_len
    num_return_sequences draft_input_ids decoder_input_ids decoder_input_lengths
    draft_logits draft_acceptance_threshold end_id pad_id stop_words_list bad_words_list
    embedding_bias beam_width temperature runtime_top_k runtime_top_p runtime_top_p_min
    runtime_top_p_decay runtime_top_p_reset_ids len_penalty early_stopping
    repetition_penalty min_tokens beam_search_diversity_rate presence_penalty
    frequency_penalty seed return_log_probs return_context_logits return_generation_logits
    return_perf_metrics return_num_input_tokens return_num_output_tokens
    exclude_input_in_output stop streaming prompt_embedding_table prompt_table_extra_ids
    prompt_vocab_size cross_attention_mask mrope_rotary_cos_sin mrope_position_deltas
    lora_task_id lora_weights lora_config context_phase_params skip_cross_attn_blocks
    retention_token_range_starts retention_token_range_ends retention_token_range_priorities
    retention_token_range_durations_ms retention_decode_priority
    retention_decode_duration_ms guided_decoding_guide_type guided_decoding_guide
    lookahead_window_size lookahead_ngram_size lookahead_verification_set_size
    """
)


def parse(config: ModelConfig) -> Any:
    return text_format.Parse(config.pbtxt(), model_config_pb2.ModelConfig())


def parsed(name: str, settings: RepositorySettings | None = None) -> Any:
    return parse(model_configs(settings)[MODELS.index(name)])


def by_name(tensors: tuple[Tensor, ...]) -> dict[str, Tensor]:
    found = {tensor.name: tensor for tensor in tensors}
    assert len(found) == len(tensors), "no name twice"
    return found


def test_every_classic_tensor_is_declared() -> None:
    assert set(by_name(ENSEMBLE_INPUTS)) >= CLASSIC_ENSEMBLE_INPUTS
    assert set(by_name(ENGINE_INPUTS)) >= CLASSIC_ENGINE_INPUTS
    assert {"text_output", *CLASSIC_OUTPUTS} <= set(by_name(ENSEMBLE_OUTPUTS))
    engine_outputs = {"output_ids", "sequence_length", "context_phase_params", *CLASSIC_OUTPUTS}
    assert engine_outputs <= set(by_name(ENGINE_OUTPUTS))


def test_what_a_request_must_have_is_refused_by_the_models_and_not_by_triton() -> None:
    assert {t.name for t in ENSEMBLE_INPUTS if t.needed} == {"text_input", "max_tokens"}
    assert all(tensor.optional for tensor in ENSEMBLE_INPUTS)
    assert "| `max_tokens` | INT32 | [1] | required |" in markdown_tables()


def test_what_is_not_classic_is_extra_internal_or_refused() -> None:
    added = set(by_name(ENSEMBLE_INPUTS)) - CLASSIC_ENSEMBLE_INPUTS
    chats = {"messages", "tools", "documents", "chat_template_kwargs", "chat_template"}
    chats |= {"add_generation_prompt", "continue_final_message"}
    of_the_answer = {"min_p", "priority", "deadline_ms", "speculate", "use_generation_config"}
    of_the_answer |= {"stop_token_ids", "no_repeat_ngram_size", "logit_bias", "logprobs"}
    of_the_answer |= {"include_stop_str_in_output", "early_stopping"}
    of_the_answer |= {"allowed_token_ids", "suppress_tokens", "begin_suppress_tokens"}
    of_the_answer |= {"top_p_decay", "top_p_min", "top_p_reset_ids"}
    older = {"random_seed", "min_length"}
    tasks = {"task", "source_language", "target_language"}
    assert added == of_the_answer | chats | tasks | older | {"add_special_tokens"}
    engine = by_name(ENGINE_INPUTS)
    for name in set(engine) - CLASSIC_ENGINE_INPUTS - older:
        assert engine[name].support is not Support.CORE
    assert {"finish_reason", "stop_reason"} <= set(by_name(ENSEMBLE_OUTPUTS))


@pytest.mark.parametrize("name", MODELS)
def test_the_committed_configurations_are_up_to_date(name: str) -> None:
    committed = (ROOT / "model_repository" / name / "config.pbtxt").read_text()
    assert committed == model_configs()[MODELS.index(name)].pbtxt(), "python -m llmasos.contract"


def test_a_configuration_parses_back_to_what_the_table_says() -> None:
    config = parsed("engine")
    assert config.backend == "python"
    assert config.max_batch_size >= 1, "clients send [1, 1]"
    assert config.model_transaction_policy.decoupled
    inputs = {item.name: item for item in config.input}
    for name, tensor in by_name(ENGINE_INPUTS).items():
        item = inputs[name]
        assert model_config_pb2.DataType.Name(item.data_type) == tensor.type.value
        assert tuple(item.dims) == tensor.dims
        assert item.optional == tensor.optional
        assert item.allow_ragged_batch == tensor.ragged
        assert item.HasField("reshape") == tensor.scalar
    assert [item.name for item in config.output] == [tensor.name for tensor in ENGINE_OUTPUTS]


def test_the_ensemble_gives_each_tensor_to_the_step_that_takes_it() -> None:
    steps = {step.model_name: step for step in parsed("ensemble").ensemble_scheduling.step}
    assert list(steps) == ["tokenizer", "engine", "detokenizer"]
    for tensor in ENSEMBLE_INPUTS:
        assert steps[tensor.model].input_map[tensor.target] == tensor.name
    for tensor in ENSEMBLE_OUTPUTS:
        assert steps[tensor.model].output_map[tensor.target] == tensor.name


@pytest.mark.parametrize("name", ["tokenizer", "engine", "detokenizer"])
def test_steps_and_models_agree_on_names_and_types(name: str) -> None:
    ensemble, model = parsed("ensemble"), parsed(name)
    (step,) = (s for s in ensemble.ensemble_scheduling.step if s.model_name == name)
    inputs = {item.name: item for item in model.input}
    outside = {item.name: item for item in ensemble.input}
    assert set(step.input_map) <= set(inputs)
    assert {n for n, item in inputs.items() if not item.optional} <= set(step.input_map)
    for inner, outer in step.input_map.items():
        if outer in outside:
            assert outside[outer].data_type == inputs[inner].data_type, inner
    assert set(step.output_map) <= {item.name for item in model.output}


def test_settings_become_parameters() -> None:
    settings = RepositorySettings(kv_cache_bytes=1 << 30, tokenizer_dir='a "b"\\c')
    engine = {k: v.string_value for k, v in parsed("engine", settings).parameters.items()}
    assert engine["kv_cache_bytes"] == "1073741824"
    assert engine["num_threads"] == ""
    tokenizer = parsed("tokenizer", settings).parameters
    assert tokenizer["tokenizer_dir"].string_value == 'a "b"\\c'


def test_settings_of_zero_are_refused_by_name() -> None:
    with pytest.raises(InvalidRequestError, match="max_queue_size must be at least 1, got 0"):
        RepositorySettings(max_queue_size=0)


def test_a_repository_gets_a_version_directory_for_each_model(tmp_path: Path) -> None:
    write_repository_configs(tmp_path)
    assert sorted(p.parent.name for p in tmp_path.glob("*/1")) == sorted(MODELS)


def test_a_neutral_value_is_accepted_and_any_other_refused_with_what_is_accepted() -> None:
    rate = by_name(ENGINE_INPUTS)["beam_search_diversity_rate"]
    rate.refuse_unless_neutral([0.0])
    refusal = r"beam_search_diversity_rate .* got 1.2, .* send 0.0"
    with pytest.raises(UnsupportedFieldError, match=refusal):
        rate.refuse_unless_neutral([1.2])
    with pytest.raises(UnsupportedFieldError, match="got nan"):
        rate.refuse_unless_neutral([math.nan])


def test_every_unsupported_scalar_has_a_value_that_clients_may_send() -> None:
    without = {
        tensor.name
        for tensor in (*ENGINE_INPUTS, *ENSEMBLE_INPUTS)
        if tensor.support is Support.NEUTRAL_ONLY and tensor.dims == (1,) and not tensor.neutral
    }
    # Any id of an adapter asks for it, and any retention asks for something.
    assert without == {
        "lora_task_id",
        "retention_decode_priority",
        "retention_decode_duration_ms",
    }


def test_a_long_refused_value_is_cut() -> None:
    guide = by_name(ENSEMBLE_INPUTS)["guided_decoding_guide"]
    with pytest.raises(UnsupportedFieldError) as caught:
        guide.refuse_unless_neutral(["x" * 10_000])
    assert len(str(caught.value)) < 200


def test_the_page_on_the_contract_is_made_from_it() -> None:
    page = (ROOT / "docs" / "contract.md").read_text()
    assert markdown_tables() in page
    for tensor in (*ENSEMBLE_INPUTS, *ENSEMBLE_OUTPUTS, *ENGINE_INPUTS, *ENGINE_OUTPUTS):
        assert (f"| `{tensor.name}` |" in page) == (tensor.support is not Support.INTERNAL)
