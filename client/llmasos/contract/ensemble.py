"""Every tensor of the `ensemble` model, which turns text into text, and the step it belongs to."""

from __future__ import annotations

from dataclasses import replace

from llmasos.contract.engine import DETAIL_OUTPUTS, FINISH_OUTPUTS, LOG_PROB_OUTPUTS, USAGE_OUTPUTS
from llmasos.contract.sampling_tensors import (
    classic_ensemble_input,
    new_ensemble_inputs,
    older_ensemble_inputs,
)
from llmasos.contract.tensor import DataType, Scalar, Support, Tensor
from llmasos.contract.text_tensors import CHAT_INPUTS, ENGINE_NAMES, TASK_INPUTS

OUTPUTS_PARAMETER = "outputs"
"""Request parameter: the outputs that the client listed, joined by commas."""

_BOOL, _INT32, _UINT64 = DataType.BOOL, DataType.INT32, DataType.UINT64
_FP16, _FP32, _STRING = DataType.FP16, DataType.FP32, DataType.STRING


def _text(name: str, *dims: int) -> Tensor:
    """A string that the tokenizer reads."""
    return Tensor(
        name=name,
        type=_STRING,
        dims=dims or (1,),
        optional=True,
        needed=name == "text_input",
        model="tokenizer",
        target=name,
    )


def _to_engine(
    name: str, data_type: DataType, *, target: str = "", support: Support = Support.CORE
) -> Tensor:
    return Tensor(
        name=name,
        type=data_type,
        optional=True,
        support=support,
        model="engine",
        target=target or name,
    )


def _as_new(name: str, data_type: DataType) -> Tensor:
    """An input that the classic engine has, and the classic ensemble has not."""
    return replace(classic_ensemble_input(name, data_type), support=Support.EXTRA)


def _refused_by_engine(
    name: str,
    data_type: DataType,
    *neutral: Scalar,
    dims: tuple[int, ...] = (1,),
    ragged: bool = False,
    target: str = "",
) -> Tensor:
    return Tensor(
        name=name,
        type=data_type,
        dims=dims,
        optional=True,
        ragged=ragged,
        support=Support.NEUTRAL_ONLY,
        neutral=neutral,
        model="engine",
        target=target or name,
    )


ENSEMBLE_INPUTS = (
    _text("text_input"),
    _text("decoder_text_input"),
    classic_ensemble_input("max_tokens", _INT32),
    classic_ensemble_input("num_return_sequences", _INT32),
    classic_ensemble_input("bad_words", _STRING),
    _text("stop_words", -1),
    _to_engine("exclude_input_in_output", _BOOL),
    _to_engine("end_id", _INT32),
    _to_engine("pad_id", _INT32),
    classic_ensemble_input("top_k", _INT32),
    classic_ensemble_input("top_p", _FP32),
    classic_ensemble_input("temperature", _FP32),
    classic_ensemble_input("length_penalty", _FP32),
    classic_ensemble_input("repetition_penalty", _FP32, 1.0),
    classic_ensemble_input("min_tokens", _INT32),
    classic_ensemble_input("presence_penalty", _FP32, 0.0),
    classic_ensemble_input("frequency_penalty", _FP32, 0.0),
    classic_ensemble_input("seed", _UINT64),
    _to_engine("return_log_probs", _BOOL),
    _refused_by_engine("return_context_logits", _BOOL, False),
    _to_engine("return_generation_logits", _BOOL),
    _to_engine("return_perf_metrics", _BOOL),
    _to_engine("return_num_input_tokens", _BOOL),
    _to_engine("return_num_output_tokens", _BOOL),
    classic_ensemble_input("beam_width", _INT32),
    _to_engine("stream", _BOOL, target=ENGINE_NAMES["stream"]),
    _refused_by_engine("prompt_embedding_table", _FP16, dims=(-1, -1)),
    _refused_by_engine("prompt_table_extra_id", _UINT64, 0, target="prompt_table_extra_ids"),
    _refused_by_engine("prompt_vocab_size", _INT32, 0),
    replace(_to_engine("embedding_bias_words", _STRING), dims=(-1,)),
    replace(_to_engine("embedding_bias_weights", _FP32), dims=(-1,)),
    _refused_by_engine("lora_task_id", _UINT64),
    _refused_by_engine("lora_weights", _FP16, dims=(-1, -1), ragged=True),
    _refused_by_engine("lora_config", _INT32, dims=(-1, 3), ragged=True),
    replace(_to_engine("guided_decoding_guide_type", _STRING), ragged=True),
    replace(_to_engine("guided_decoding_guide", _STRING), ragged=True),
    *older_ensemble_inputs(),
    _as_new("early_stopping", _BOOL),
    *map(_as_new, ("top_p_min", "top_p_decay"), (_FP32, _FP32)),
    _as_new("top_p_reset_ids", _INT32),
    *new_ensemble_inputs(),
    _to_engine("use_generation_config", _BOOL, support=Support.EXTRA),
    *(
        replace(tensor, model="tokenizer", target=tensor.name)
        for tensor in (*TASK_INPUTS, *CHAT_INPUTS)
    ),
)

ENSEMBLE_OUTPUTS = (
    Tensor(name="text_output", type=_STRING, dims=(-1,), model="detokenizer", target="text_output"),
    *(
        replace(output, model="engine", target=output.name)
        for output in (*LOG_PROB_OUTPUTS, *DETAIL_OUTPUTS, *USAGE_OUTPUTS, *FINISH_OUTPUTS)
    ),
)

BESIDE_TEXT = "max_tokens"
"""Goes to the tokenizer too, so that this runs for a request without any text, and refuses it."""

TOKENIZER_INPUTS = tuple(
    replace(tensor, model="", target="")
    for tensor in ENSEMBLE_INPUTS
    if tensor.model == "tokenizer" or tensor.name == BESIDE_TEXT
)

TOKENIZER_OUTPUTS = (
    Tensor(name="input_ids", type=_INT32, dims=(-1,), support=Support.INTERNAL),
    Tensor(name="input_lengths", type=_INT32, support=Support.INTERNAL),
    Tensor(name="decoder_input_ids", type=_INT32, dims=(-1,), support=Support.INTERNAL),
    Tensor(name="decoder_input_lengths", type=_INT32, support=Support.INTERNAL),
    Tensor(name="task", type=_STRING, support=Support.INTERNAL),
    Tensor(name="stop_text", type=_STRING, dims=(-1,), support=Support.INTERNAL),
    Tensor(name="from_ensemble", type=_BOOL, support=Support.INTERNAL),
)

DETOKENIZER_INPUTS = (
    Tensor(name="text_piece", type=_INT32, dims=(-1,), ragged=True, support=Support.INTERNAL),
)

DETOKENIZER_OUTPUTS = (
    Tensor(name="text_output", type=_STRING, dims=(-1,), support=Support.INTERNAL),
)
