"""The models of the repository, and the files that declare them to Triton.

Four do the work. The others have the classic names and pass requests on to them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llmasos.contract.classic_models import CLASSIC_MODELS, classic_configs
from llmasos.contract.classic_text_models import POSTPROCESSING_INPUTS
from llmasos.contract.config import BATCH, GENERATED, MAX_ROWS, ModelConfig, Step
from llmasos.contract.encoder import ENCODER_INPUTS, ENCODER_OUTPUTS
from llmasos.contract.engine import ENGINE_INPUTS, ENGINE_OUTPUTS
from llmasos.contract.ensemble import (
    BESIDE_TEXT,
    DETOKENIZER_INPUTS,
    DETOKENIZER_OUTPUTS,
    ENSEMBLE_INPUTS,
    ENSEMBLE_OUTPUTS,
    TOKENIZER_INPUTS,
    TOKENIZER_OUTPUTS,
)
from llmasos.contract.settings import RepositorySettings
from llmasos.engine.plan import Task

ENCODER_MODELS = ("ensemble", "engine")
MODELS = (
    "ensemble",
    "tokenizer",
    "engine",
    "detokenizer",
    *CLASSIC_MODELS,
)
CONFIG_FILE = "config.pbtxt"
PLAN_IN_REPOSITORY = Path("engine", "1", "plan")


def models_of(task: Task) -> tuple[str, ...]:
    """The models of a repository whose plan is for this task."""
    return MODELS if task == "generate" else ENCODER_MODELS


def model_configs(
    settings: RepositorySettings | None = None, *, task: Task = "generate"
) -> tuple[ModelConfig, ...]:
    """The configuration of each model, in the order of `models_of`."""
    settings = settings or RepositorySettings()
    if task != "generate":
        return (_encoder_ensemble(task), _encoder(settings, task))
    return (
        _ensemble(),
        _tokenizer(settings),
        _engine(settings),
        _detokenizer(settings),
        *classic_configs(settings),
    )


def write_repository_configs(
    directory: Path, settings: RepositorySettings | None = None, *, task: Task = "generate"
) -> None:
    """Write config.pbtxt for each model under a directory, with the version directories."""
    for config in model_configs(settings, task=task):
        model_dir = directory / config.name
        (model_dir / "1").mkdir(parents=True, exist_ok=True)
        (model_dir / CONFIG_FILE).write_text(config.pbtxt(), encoding="utf-8")


def _ensemble() -> ModelConfig:
    return ModelConfig(
        name="ensemble",
        comment=(GENERATED, *BATCH),
        max_batch_size=MAX_ROWS,
        decoupled=True,
        inputs=ENSEMBLE_INPUTS,
        outputs=ENSEMBLE_OUTPUTS,
        steps=(_tokenizer_step(), _engine_step(), _detokenizer_step()),
    )


def _tokenizer(settings: RepositorySettings) -> ModelConfig:
    return ModelConfig(
        name="tokenizer",
        comment=(GENERATED, *BATCH),
        max_batch_size=MAX_ROWS,
        inputs=TOKENIZER_INPUTS,
        outputs=TOKENIZER_OUTPUTS,
        parameters={"tokenizer_dir": settings.tokenizer_dir},
    )


def _engine(settings: RepositorySettings) -> ModelConfig:
    return ModelConfig(
        name="engine",
        comment=(GENERATED, *BATCH, "The engine batches the requests of many calls by itself."),
        max_batch_size=MAX_ROWS,
        decoupled=True,
        inputs=ENGINE_INPUTS,
        outputs=ENGINE_OUTPUTS,
        parameters={
            "gpt_model_path": settings.gpt_model_path,
            "num_threads": _text(settings.num_threads),
            "kv_cache_bytes": _text(settings.kv_cache_bytes),
            "max_batch_size": _text(settings.max_batch_size),
            "max_num_tokens": _text(settings.max_num_tokens),
            "max_queue_size": _text(settings.max_queue_size),
            "enable_kv_cache_reuse": str(settings.enable_kv_cache_reuse).lower(),
            "speculate": "" if settings.speculate is None else str(settings.speculate).lower(),
            "generation_config": settings.generation_config,
            "stream_interval": _text(settings.stream_interval),
            "cancellation_check_period_ms": _text(settings.cancellation_check_period_ms),
            "default_deadline_ms": _text(settings.default_deadline_ms),
        },
    )


def _encoder(settings: RepositorySettings, task: Task) -> ModelConfig:
    return ModelConfig(
        name="engine",
        comment=(GENERATED, "A request has any number of texts; the engine packs those of many."),
        max_batch_size=0,
        inputs=ENCODER_INPUTS[task],
        outputs=ENCODER_OUTPUTS[task],
        parameters={
            "gpt_model_path": settings.gpt_model_path,
            "num_threads": _text(settings.num_threads),
            "max_batch_size": _text(settings.max_batch_size),
            "max_num_tokens": _text(settings.max_num_tokens),
            "max_queue_size": _text(settings.max_queue_size),
            "cancellation_check_period_ms": _text(settings.cancellation_check_period_ms),
        },
    )


def _encoder_ensemble(task: Task) -> ModelConfig:
    inputs, outputs = ENCODER_INPUTS[task], ENCODER_OUTPUTS[task]
    step = Step(
        model_name="engine",
        inputs={tensor.name: tensor.name for tensor in inputs},
        outputs={tensor.name: tensor.name for tensor in outputs},
    )
    return ModelConfig(
        name="ensemble",
        comment=(GENERATED, "The engine by the name that clients of other repositories ask."),
        max_batch_size=0,
        inputs=inputs,
        outputs=outputs,
        steps=(step,),
    )


def _detokenizer(settings: RepositorySettings) -> ModelConfig:
    return ModelConfig(
        name="detokenizer",
        comment=(GENERATED, "Pieces of many requests are decoded in one call."),
        max_batch_size=settings.detokenizer_batch_size,
        max_queue_delay_us=settings.detokenizer_delay_us,
        inputs=(
            *(replace(tensor, optional=True) for tensor in DETOKENIZER_INPUTS),
            *(replace(tensor, optional=True, ragged=True) for tensor in POSTPROCESSING_INPUTS),
        ),
        outputs=DETOKENIZER_OUTPUTS,
        parameters={"tokenizer_dir": settings.tokenizer_dir},
    )


def _tokenizer_step() -> Step:
    return Step(
        model_name="tokenizer",
        inputs={**_inputs_of("tokenizer"), BESIDE_TEXT: BESIDE_TEXT},
        outputs={tensor.name: f"_{tensor.name}" for tensor in TOKENIZER_OUTPUTS},
    )


def _engine_step() -> Step:
    from_tokenizer = {tensor.name: f"_{tensor.name}" for tensor in TOKENIZER_OUTPUTS}
    to_detokenizer = {tensor.name: f"_{tensor.name}" for tensor in DETOKENIZER_INPUTS}
    direct = {t.target: t.name for t in ENSEMBLE_OUTPUTS if t.model == "engine"}
    return Step(
        model_name="engine",
        inputs={**from_tokenizer, **_inputs_of("engine")},
        outputs={**to_detokenizer, **direct},
    )


def _detokenizer_step() -> Step:
    return Step(
        model_name="detokenizer",
        inputs={tensor.name: f"_{tensor.name}" for tensor in DETOKENIZER_INPUTS},
        outputs={"text_output": "text_output"},
    )


def _inputs_of(model: str) -> dict[str, str]:
    return {tensor.target: tensor.name for tensor in ENSEMBLE_INPUTS if tensor.model == model}


def _text(value: int | None) -> str:
    return "" if value is None else str(value)
