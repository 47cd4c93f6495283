"""The models of the repository, and the files that declare them to Triton.

Four do the work. Two more have the classic names and are configuration alone: `tensorrt_llm` is
the model `engine`, and `tensorrt_llm_bls` is `ensemble`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from llmasos.contract.config import ModelConfig, Step
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
from llmasos.contract.tensor import Support
from llmasos.errors import InvalidRequestError
from llmasos.generation_config import checked_choice

MODELS = (
    "ensemble",
    "tokenizer",
    "engine",
    "detokenizer",
    "tensorrt_llm",
    "tensorrt_llm_bls",
)
CONFIG_FILE = "config.pbtxt"
PLAN_IN_REPOSITORY = Path("engine", "1", "plan")
_GENERATED = "Written by `python -m llmasos.contract`; change the table there."
_MAX_ROWS = 64
_BATCH = (
    "max_batch_size is Triton's: the rows of one request, not the engine's batch (plan.json).",
    "A request has one row. More are let in to be refused with an error that says so: what",
    "Triton 2.51 refuses by itself here keeps it from ending cleanly.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySettings:
    """What a repository may choose; paths are relative to a model's version directory.

    tokenizer_dir: the tokenizer, for `tokenizer` and `detokenizer`.
    gpt_model_path: the engine plan, for `engine`.
    num_threads, kv_cache_bytes, max_batch_size, max_num_tokens: the engine's; None leaves the
        choice to it.
    max_queue_size: requests that may wait before others are refused.
    enable_kv_cache_reuse: a prompt that begins like an earlier one shares its KV blocks.
    speculate: guess tokens that an answer repeats, for requests that do not say; None leaves
        the choice to the engine.
    generation_config: auto or none (`llmasos.generation_config.GenerationConfigChoice`).
    stream_interval: tokens of one response of a stream, after the first, which has one.
    cancellation_check_period_ms: how often the engine looks for clients that have gone.
    default_deadline_ms: the longest that a request without `deadline_ms` may take.
    detokenizer_batch_size: pieces of text of different requests decoded in one call.
    detokenizer_delay_us: microseconds that a piece waits for others of its step.
    """

    tokenizer_dir: str = "../../engine/1/plan"
    gpt_model_path: str = "plan"
    num_threads: int | None = None
    kv_cache_bytes: int | None = None
    max_batch_size: int | None = None
    max_num_tokens: int | None = None
    max_queue_size: int = 1024
    enable_kv_cache_reuse: bool = True
    speculate: bool | None = None
    generation_config: str = "auto"
    stream_interval: int = 1
    cancellation_check_period_ms: int = 200
    default_deadline_ms: int = 600_000
    detokenizer_batch_size: int = 64
    detokenizer_delay_us: int = 1000

    def __post_init__(self) -> None:
        checked_choice(self.generation_config)
        for name in (
            "num_threads",
            "kv_cache_bytes",
            "max_batch_size",
            "max_num_tokens",
            "max_queue_size",
            "stream_interval",
            "cancellation_check_period_ms",
            "default_deadline_ms",
            "detokenizer_batch_size",
            "detokenizer_delay_us",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidRequestError(f"{name} must be at least 1, got {value}")


def model_configs(settings: RepositorySettings | None = None) -> tuple[ModelConfig, ...]:
    """The configuration of each model, in the order of MODELS."""
    settings = settings or RepositorySettings()
    return (
        _ensemble("ensemble"),
        _tokenizer(settings),
        _engine(settings),
        _detokenizer(settings),
        _classic_engine(),
        _ensemble("tensorrt_llm_bls"),
    )


def write_repository_configs(directory: Path, settings: RepositorySettings | None = None) -> None:
    """Write config.pbtxt for each model under a directory, with the version directories."""
    for config in model_configs(settings):
        model_dir = directory / config.name
        (model_dir / "1").mkdir(parents=True, exist_ok=True)
        (model_dir / CONFIG_FILE).write_text(config.pbtxt(), encoding="utf-8")


def _ensemble(name: str) -> ModelConfig:
    return ModelConfig(
        name=name,
        comment=(_GENERATED, *_BATCH),
        max_batch_size=_MAX_ROWS,
        decoupled=True,
        inputs=ENSEMBLE_INPUTS,
        outputs=ENSEMBLE_OUTPUTS,
        steps=(_tokenizer_step(), _engine_step(), _detokenizer_step()),
    )


def _tokenizer(settings: RepositorySettings) -> ModelConfig:
    return ModelConfig(
        name="tokenizer",
        comment=(_GENERATED, *_BATCH),
        max_batch_size=_MAX_ROWS,
        inputs=TOKENIZER_INPUTS,
        outputs=TOKENIZER_OUTPUTS,
        parameters={"tokenizer_dir": settings.tokenizer_dir},
    )


def _engine(settings: RepositorySettings) -> ModelConfig:
    return ModelConfig(
        name="engine",
        comment=(_GENERATED, *_BATCH, "The engine batches the requests of many calls by itself."),
        max_batch_size=_MAX_ROWS,
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


def _classic_engine() -> ModelConfig:
    """The engine under its classic name. Triton refuses an ensemble that has an input and an output
    of one name, so `context_phase_params` is an input alone.
    """
    inputs = [t for t in ENGINE_INPUTS if t.support is not Support.INTERNAL]
    names = {tensor.name for tensor in inputs}
    outputs = [
        t for t in ENGINE_OUTPUTS if t.support is not Support.INTERNAL and t.name not in names
    ]
    step = Step(
        model_name="engine",
        inputs={tensor.name: tensor.name for tensor in inputs},
        outputs={tensor.name: tensor.name for tensor in outputs},
    )
    return ModelConfig(
        name="tensorrt_llm",
        comment=(_GENERATED, *_BATCH, "This is the model engine, under its classic name."),
        max_batch_size=_MAX_ROWS,
        decoupled=True,
        inputs=tuple(replace(tensor, scalar=False, ragged=False) for tensor in inputs),
        outputs=tuple(outputs),
        steps=(step,),
    )


def _detokenizer(settings: RepositorySettings) -> ModelConfig:
    return ModelConfig(
        name="detokenizer",
        comment=(_GENERATED, "Pieces of many requests are decoded in one call."),
        max_batch_size=settings.detokenizer_batch_size,
        max_queue_delay_us=settings.detokenizer_delay_us,
        inputs=DETOKENIZER_INPUTS,
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
