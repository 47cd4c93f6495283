"""Every tensor of the `engine` model: those of the classic `tensorrt_llm`, and ours.

A client may call this model directly with token ids, as it did the classic one, or with text, in
the words of `ensemble`.
"""

from __future__ import annotations

from llmasos.contract.sampling_tensors import (
    classic_engine_input,
    new_engine_inputs,
    older_engine_inputs,
)
from llmasos.contract.tensor import DataType, Scalar, Support, Tensor
from llmasos.contract.text_tensors import ENGINE_NAMES, STOP_WORDS, TEXT_INPUTS
from llmasos.sampling_table import SAMPLING_TABLE

_BOOL, _INT32, _INT64 = DataType.BOOL, DataType.INT32, DataType.INT64
_UINT8, _UINT64, _FP16 = DataType.UINT8, DataType.UINT64, DataType.FP16
_FP32, _STRING = DataType.FP32, DataType.STRING


def _scalar(name: str, data_type: DataType, support: Support = Support.CORE) -> Tensor:
    return Tensor(name=name, type=data_type, optional=True, scalar=True, support=support)


def _neutral_scalar(name: str, data_type: DataType, *neutral: Scalar) -> Tensor:
    return Tensor(
        name=name,
        type=data_type,
        optional=True,
        scalar=True,
        support=Support.NEUTRAL_ONLY,
        neutral=neutral,
    )


def _list(name: str, data_type: DataType, support: Support = Support.CORE) -> Tensor:
    return Tensor(
        name=name, type=data_type, dims=(-1,), optional=True, ragged=True, support=support
    )


def _one(name: str, data_type: DataType) -> Tensor:
    return Tensor(name=name, type=data_type, optional=True, ragged=True)


def _neutral_list(
    name: str, data_type: DataType, *dims: int, neutral: tuple[Scalar, ...] = ()
) -> Tensor:
    return Tensor(
        name=name,
        type=data_type,
        dims=dims or (-1,),
        optional=True,
        ragged=True,
        support=Support.NEUTRAL_ONLY,
        neutral=neutral,
    )


def _output(name: str, data_type: DataType, *dims: int, support: Support = Support.CORE) -> Tensor:
    return Tensor(name=name, type=data_type, dims=dims or (1,), support=support)


def _unmade(name: str, data_type: DataType, *dims: int) -> Tensor:
    return _output(name, data_type, *dims, support=Support.NEUTRAL_ONLY)


_TYPES = {row.ensemble_name: DataType.of(row.tensor_type) for row in SAMPLING_TABLE}


def _of_ensemble(name: str) -> Tensor:
    """An input of the engine by the name that the ensemble gives it."""
    is_list = name == STOP_WORDS
    return Tensor(
        name=name,
        type=_TYPES.get(name, _BOOL),
        dims=(-1,) if is_list else (1,),
        optional=True,
        ragged=is_list,
        support=Support.EXTRA,
    )


ENGINE_INPUTS = (
    Tensor(name="input_ids", type=_INT32, dims=(-1,), optional=True, ragged=True),
    _neutral_list("encoder_input_features", _FP16, -1, -1),
    _neutral_scalar("encoder_output_lengths", _INT32, 0),
    _scalar("input_lengths", _INT32),
    classic_engine_input("request_output_len", _INT32),
    classic_engine_input("num_return_sequences", _INT32),
    _list("draft_input_ids", _INT32),
    _list("decoder_input_ids", _INT32),
    _scalar("decoder_input_lengths", _INT32),
    _neutral_list("draft_logits", _FP32, -1, -1),
    _neutral_scalar("draft_acceptance_threshold", _FP32, 0.0),
    _scalar("end_id", _INT32),
    _scalar("pad_id", _INT32),
    Tensor(name="stop_words_list", type=_INT32, dims=(2, -1), optional=True, ragged=True),
    Tensor(name="bad_words_list", type=_INT32, dims=(2, -1), optional=True, ragged=True),
    _list("embedding_bias", _FP32),
    classic_engine_input("beam_width", _INT32),
    classic_engine_input("temperature", _FP32),
    classic_engine_input("runtime_top_k", _INT32),
    classic_engine_input("runtime_top_p", _FP32),
    classic_engine_input("runtime_top_p_min", _FP32),
    classic_engine_input("runtime_top_p_decay", _FP32),
    classic_engine_input("runtime_top_p_reset_ids", _INT32),
    classic_engine_input("len_penalty", _FP32),
    classic_engine_input("early_stopping", _BOOL),
    classic_engine_input("repetition_penalty", _FP32, 1.0),
    classic_engine_input("min_tokens", _INT32),
    _neutral_scalar("beam_search_diversity_rate", _FP32, 0.0),
    classic_engine_input("presence_penalty", _FP32, 0.0),
    classic_engine_input("frequency_penalty", _FP32, 0.0),
    classic_engine_input("seed", _UINT64),
    _scalar("return_log_probs", _BOOL),
    _neutral_scalar("return_context_logits", _BOOL, False),
    _scalar("return_generation_logits", _BOOL),
    _scalar("return_perf_metrics", _BOOL),
    _scalar("return_num_input_tokens", _BOOL),
    _scalar("return_num_output_tokens", _BOOL),
    _scalar("exclude_input_in_output", _BOOL),
    _scalar("stop", _BOOL),
    _scalar("streaming", _BOOL),
    _neutral_list("prompt_embedding_table", _FP16, -1, -1),
    _neutral_list("prompt_table_extra_ids", _UINT64, neutral=(0,)),
    _neutral_scalar("prompt_vocab_size", _INT32, 0),
    _neutral_list("cross_attention_mask", _BOOL, -1, -1),
    _neutral_list("mrope_rotary_cos_sin", _FP32),
    Tensor(
        name="mrope_position_deltas",
        type=_INT64,
        optional=True,
        support=Support.NEUTRAL_ONLY,
        neutral=(0,),
    ),
    _neutral_scalar("lora_task_id", _UINT64),
    _neutral_list("lora_weights", _FP16, -1, -1),
    _neutral_list("lora_config", _INT32, -1, 3),
    _neutral_list("context_phase_params", _UINT8),
    _neutral_list("skip_cross_attn_blocks", _BOOL, 1, neutral=(False,)),
    _neutral_list("retention_token_range_starts", _INT32),
    _neutral_list("retention_token_range_ends", _INT32),
    _neutral_list("retention_token_range_priorities", _INT32),
    _neutral_list("retention_token_range_durations_ms", _INT32),
    _neutral_list("retention_decode_priority", _INT32, 1),
    _neutral_list("retention_decode_duration_ms", _INT32, 1),
    _one("guided_decoding_guide_type", _STRING),
    _one("guided_decoding_guide", _STRING),
    _neutral_list("lookahead_window_size", _INT32, 1, neutral=(0,)),
    _neutral_list("lookahead_ngram_size", _INT32, 1, neutral=(0,)),
    _neutral_list("lookahead_verification_set_size", _INT32, 1, neutral=(0,)),
    *older_engine_inputs(),
    *new_engine_inputs(),
    _list("bad_words", _STRING, Support.EXTRA),
    _list("embedding_bias_words", _STRING, Support.EXTRA),
    _list("embedding_bias_weights", _FP32, Support.EXTRA),
    _scalar("use_generation_config", _BOOL, Support.EXTRA),
    *TEXT_INPUTS,
    *map(_of_ensemble, ENGINE_NAMES),
    Tensor(
        name="stop_text",
        type=_STRING,
        dims=(-1,),
        optional=True,
        ragged=True,
        support=Support.INTERNAL,
    ),
    _scalar("from_ensemble", _BOOL, Support.INTERNAL),
)

USAGE_OUTPUTS = (
    _output("num_input_tokens", _INT32),
    _output("num_output_tokens", _INT32),
    _output("kv_cache_reused_blocks", _INT32),
    _output("acceptance_rate", _FP32),
    _output("total_accepted_draft_tokens", _INT32),
    _output("total_draft_tokens", _INT32),
)

FINISH_OUTPUTS = (
    _output("finish_reason", _STRING, -1, support=Support.EXTRA),
    _output("stop_reason", _STRING, -1, support=Support.EXTRA),
    _output("ending", _STRING, -1, support=Support.EXTRA),
    _output("token_logprobs", _STRING, -1, support=Support.EXTRA),
)
"""`ending`, of the last response, is the reasons and every count as one JSON object: a client
that reads it needs no other output for them, and each costs time in every response."""

DETAIL_OUTPUTS = (
    _unmade("context_logits", _FP32, -1, -1),
    _output("generation_logits", _FP32, -1, -1, -1),
    _output("batch_index", _INT32),
    _output("sequence_index", _INT32),
    _output("kv_cache_alloc_new_blocks", _INT32),
    _output("kv_cache_alloc_total_blocks", _INT32),
    _output("arrival_time_ns", _INT64),
    _output("first_scheduled_time_ns", _INT64),
    _output("first_token_time_ns", _INT64),
    _output("last_token_time_ns", _INT64),
)
"""Declared by the classic contract; they hold zeros, or nothing where any length may be."""

LOG_PROB_OUTPUTS = (
    _output("cum_log_probs", _FP32, -1),
    _output("output_log_probs", _FP32, -1, -1),
)
"""Zeros unless they are asked for: some clients read them in any case."""

ENGINE_OUTPUTS = (
    _output("output_ids", _INT32, -1, -1),
    _output("sequence_length", _INT32, -1),
    *LOG_PROB_OUTPUTS,
    *DETAIL_OUTPUTS,
    _unmade("context_phase_params", _UINT8, -1),
    *USAGE_OUTPUTS,
    *FINISH_OUTPUTS,
    _output("text_output", _STRING, -1, support=Support.EXTRA),
    # begin and end of the new characters, then the ids to decode: those that came before and
    # matter, and the new ones. One tensor, since each costs every token about 10 us.
    _output("text_piece", _INT32, -1, support=Support.INTERNAL),
)
