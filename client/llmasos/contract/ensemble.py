"""Every tensor of the `ensemble` model, which turns text into text, and the step it belongs to."""

from __future__ import annotations

from dataclasses import replace

from llmasos.contract.engine import FINISH_OUTPUTS, UNMADE_OUTPUTS, USAGE_OUTPUTS
from llmasos.contract.sampling_tensors import (
    classic_ensemble_input,
    new_ensemble_inputs,
    older_ensemble_inputs,
)
from llmasos.contract.tensor import DataType, Scalar, Support, Tensor

OUTPUTS_PARAMETER = "outputs"
"""Request parameter: the outputs that the client listed, joined by commas."""

CHAT_OBJECTS = ("tools", "documents", "chat_template_kwargs")
"""Inputs beside messages that hold JSON in a string, as messages does."""
CHAT_FLAGS = ("add_generation_prompt", "continue_final_message")

_BOOL, _INT32, _UINT64 = DataType.BOOL, DataType.INT32, DataType.UINT64
_FP16, _FP32, _STRING = DataType.FP16, DataType.FP32, DataType.STRING


def _text(name: str, *dims: int, support: Support = Support.CORE) -> Tensor:
    """A string that the tokenizer reads."""
    return Tensor(
        name=name,
        type=_STRING,
        dims=dims or (1,),
        optional=True,
        needed=name == "text_input",
        support=support,
        model="tokenizer",
        target=name,
    )


def _for_tokenizer(name: str, data_type: DataType) -> Tensor:
    return replace(_text(name, support=Support.EXTRA), type=data_type)


def _refused_by_tokenizer(
    name: str, data_type: DataType, *dims: int, neutral: tuple[Scalar, ...]
) -> Tensor:
    return Tensor(
        name=name,
        type=data_type,
        dims=dims,
        optional=True,
        support=Support.NEUTRAL_ONLY,
        neutral=neutral,
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
    _refused_by_tokenizer("decoder_text_input", _STRING, 1, neutral=("",)),
    classic_ensemble_input("max_tokens", _INT32),
    _refused_by_engine("num_return_sequences", _INT32, 1, 0),
    _refused_by_tokenizer("bad_words", _STRING, -1, neutral=("",)),
    _text("stop_words", -1),
    _to_engine("exclude_input_in_output", _BOOL),
    _to_engine("end_id", _INT32),
    _to_engine("pad_id", _INT32),
    classic_ensemble_input("top_k", _INT32),
    classic_ensemble_input("top_p", _FP32),
    classic_ensemble_input("temperature", _FP32),
    _refused_by_engine("length_penalty", _FP32, 1.0, 0.0, target="len_penalty"),
    classic_ensemble_input("repetition_penalty", _FP32, 1.0),
    classic_ensemble_input("min_tokens", _INT32),
    classic_ensemble_input("presence_penalty", _FP32, 0.0),
    classic_ensemble_input("frequency_penalty", _FP32, 0.0),
    classic_ensemble_input("seed", _UINT64),
    _refused_by_engine("return_log_probs", _BOOL, False),
    _refused_by_engine("return_context_logits", _BOOL, False),
    _refused_by_engine("return_generation_logits", _BOOL, False),
    _refused_by_engine("return_perf_metrics", _BOOL, False),
    _to_engine("return_num_input_tokens", _BOOL),
    _to_engine("return_num_output_tokens", _BOOL),
    _refused_by_engine("beam_width", _INT32, 1, 0),
    _to_engine("stream", _BOOL, target="streaming"),
    _refused_by_engine("prompt_embedding_table", _FP16, dims=(-1, -1)),
    _refused_by_engine("prompt_table_extra_id", _UINT64, 0, target="prompt_table_extra_ids"),
    _refused_by_engine("prompt_vocab_size", _INT32, 0),
    _refused_by_tokenizer("embedding_bias_words", _STRING, -1, neutral=("",)),
    _refused_by_tokenizer("embedding_bias_weights", _FP32, -1, neutral=(0.0,)),
    _refused_by_engine("lora_task_id", _UINT64),
    _refused_by_engine("lora_weights", _FP16, dims=(-1, -1), ragged=True),
    _refused_by_engine("lora_config", _INT32, dims=(-1, 3), ragged=True),
    _refused_by_engine("guided_decoding_guide_type", _STRING, "", ragged=True),
    _refused_by_engine("guided_decoding_guide", _STRING, "", ragged=True),
    *older_ensemble_inputs(),
    *new_ensemble_inputs(),
    _to_engine("use_generation_config", _BOOL, support=Support.EXTRA),
    _text("messages", support=Support.EXTRA),
    *(_text(name, support=Support.EXTRA) for name in CHAT_OBJECTS),
    _text("chat_template", support=Support.EXTRA),
    *(_for_tokenizer(name, _BOOL) for name in CHAT_FLAGS),
    _for_tokenizer("add_special_tokens", _BOOL),
)

ENSEMBLE_OUTPUTS = (
    Tensor(name="text_output", type=_STRING, dims=(-1,), model="detokenizer", target="text_output"),
    *(
        replace(output, model="engine", target=output.name)
        for output in (*UNMADE_OUTPUTS, *USAGE_OUTPUTS, *FINISH_OUTPUTS)
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
    Tensor(name="stop_text", type=_STRING, dims=(-1,), support=Support.INTERNAL),
    Tensor(name="from_ensemble", type=_BOOL, support=Support.INTERNAL),
)

DETOKENIZER_INPUTS = (
    Tensor(name="text_piece", type=_INT32, dims=(-1,), ragged=True, support=Support.INTERNAL),
)

DETOKENIZER_OUTPUTS = (
    Tensor(name="text_output", type=_STRING, dims=(-1,), support=Support.INTERNAL),
)
