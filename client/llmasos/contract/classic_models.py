"""The models with the names of the classic repository, which pass requests on to ours.

`tensorrt_llm` takes token ids and `tensorrt_llm_bls` takes text. A model of Triton either streams
or answers unary requests, so each has a twin that is always unary.
"""

from __future__ import annotations

from dataclasses import replace

from llmasos.contract.classic_text_models import (
    POSTPROCESSING,
    PREPROCESSING,
    postprocessing,
    preprocessing,
)
from llmasos.contract.config import GENERATED, MAX_ROWS, ModelConfig
from llmasos.contract.engine import ENGINE_INPUTS, ENGINE_OUTPUTS
from llmasos.contract.ensemble import ENSEMBLE_INPUTS, ENSEMBLE_OUTPUTS
from llmasos.contract.settings import RepositorySettings
from llmasos.contract.tensor import DataType, Scalar, Support, Tensor
from llmasos.contract.text_tensors import CHAT_INPUTS, ENGINE_NAMES, TEXT_INPUTS

TOKEN_MODELS = ("tensorrt_llm", "tensorrt_llm_unary")
TEXT_MODELS = ("tensorrt_llm_bls", "tensorrt_llm_bls_unary")
FORWARDING_MODELS = (*TOKEN_MODELS, *TEXT_MODELS)
CLASSIC_MODELS = (*FORWARDING_MODELS, PREPROCESSING, POSTPROCESSING)
_REQUIRED = {"text_input", "max_tokens", "input_lengths", "request_output_len"}
_NOT_CLASSIC = {
    *(tensor.name for tensor in CHAT_INPUTS),
    "use_generation_config",
}
_OF_TEXT_REQUESTS = {*(tensor.name for tensor in TEXT_INPUTS), *ENGINE_NAMES, "text_output"}
_ALWAYS_UNARY = ("tensorrt_llm_unary", "tensorrt_llm_bls_unary")


def _declared(tensor: Tensor) -> Tensor:
    """As a model of one's own declares it: several rows are split, so no shape is changed."""
    is_optional = tensor.name not in _REQUIRED
    return replace(
        tensor,
        optional=is_optional,
        needed=False,
        scalar=False,
        ragged=False,
        model="",
        target=tensor.target or tensor.name,
    )


def _refused(name: str, data_type: DataType, *dims: int, neutral: tuple[Scalar, ...]) -> Tensor:
    return Tensor(
        name=name,
        type=data_type,
        dims=dims or (1,),
        optional=True,
        support=Support.NEUTRAL_ONLY,
        neutral=neutral,
        target=name,
    )


CLASSIC_TOKEN_INPUTS = tuple(
    _declared(t)
    for t in ENGINE_INPUTS
    if t.support is not Support.INTERNAL and t.name not in _OF_TEXT_REQUESTS | _NOT_CLASSIC
)
"""target: its name in `engine`."""

CLASSIC_TEXT_INPUTS = (
    *(_declared(t) for t in ENSEMBLE_INPUTS if t.name not in _NOT_CLASSIC),
    _refused("image_input", DataType.FP16, -1, 3, -1, -1, neutral=()),
    _refused("image_bytes_input", DataType.UINT8, -1, -1, -1, -1, neutral=()),
    _refused("image_url_input", DataType.STRING, neutral=("",)),
    _refused("video_bytes_input", DataType.UINT8, -1, -1, -1, -1, neutral=()),
    _refused("num_draft_tokens", DataType.INT32, neutral=(0,)),
    _refused("use_draft_logits", DataType.BOOL, neutral=(False,)),
)

CLASSIC_TOKEN_OUTPUTS = tuple(
    t
    for t in ENGINE_OUTPUTS
    if t.support is not Support.INTERNAL and t.name not in _OF_TEXT_REQUESTS
)
CLASSIC_TEXT_OUTPUTS = tuple(replace(t, model="", target="") for t in ENSEMBLE_OUTPUTS)


def classic_configs(settings: RepositorySettings) -> tuple[ModelConfig, ...]:
    """The configuration of each model, in the order of CLASSIC_MODELS."""
    return (
        *(_config(name, settings) for name in FORWARDING_MODELS),
        preprocessing(settings),
        postprocessing(),
    )


def _config(name: str, settings: RepositorySettings) -> ModelConfig:
    has_text = name in TEXT_MODELS
    is_decoupled = settings.decoupled_mode and name not in _ALWAYS_UNARY
    return ModelConfig(
        name=name,
        comment=(
            GENERATED,
            "It passes requests on to the model engine, with the defaults of the classic one.",
        ),
        max_batch_size=MAX_ROWS,
        decoupled=is_decoupled,
        inputs=CLASSIC_TEXT_INPUTS if has_text else CLASSIC_TOKEN_INPUTS,
        outputs=CLASSIC_TEXT_OUTPUTS if has_text else CLASSIC_TOKEN_OUTPUTS,
        parameters={
            "decoupled_mode": _text(is_decoupled),
            "exclude_input_in_output": _text(settings.exclude_input_in_output),
            "include_stop_str_in_output": _text(settings.include_stop_str_in_output),
        },
    )


def _text(value: bool) -> str:
    return str(value).lower()
