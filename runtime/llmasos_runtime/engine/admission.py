"""Admission: checks requests and options, and turns requests into sequences."""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from llmasos.engine.plan import EnginePlan, Limits
from llmasos.errors import InvalidRequestError, PlanError, UnsupportedFieldError
from llmasos.generation_config import GenerationConfig
from llmasos.sampling import SamplingParams

from llmasos_runtime.options import EngineOptions
from llmasos_runtime.sequences.drafter import Drafter
from llmasos_runtime.sequences.request import Request
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.text.special_stops import with_special_stops

_log = logging.getLogger("llmasos")


def recommended_by(
    plan: EnginePlan, directory: Path | str, options: EngineOptions
) -> GenerationConfig:
    """Returns the generation config of a plan, unless the options ignore it; logs unsupported
    fields.
    """
    if options.generation_config == "none":
        return GenerationConfig()
    config = GenerationConfig.load(directory).for_plan(plan)
    warning = config.warning()
    if warning is not None:
        _log.warning("%s", warning)
    return config


def completed(
    request: Request, config: GenerationConfig, special_tokens: Mapping[str, int]
) -> Request:
    """Returns the request with its open fields filled in and its stop words looked up.

    special_tokens: ids by text.
    """
    num_prompt_tokens = len(request.prompt_token_ids)
    params = config.complete(request.params, num_prompt_tokens=num_prompt_tokens)
    return with_special_stops(replace(request, params=params), special_tokens)


def sequence_of(
    request: Request, plan: EnginePlan, limits: Limits, *, speculate: bool = False
) -> Sequence:
    """Returns the sequence that answers a request; max_tokens is reduced to fit max_seq_len.

    limits: those of the engine, which may be smaller than the plan's. speculate: whether to use
    draft tokens if the request does not say.
    Raises InvalidRequestError for a prompt that is empty, too long, or holds an invalid token id.
    """
    prompt = request.prompt_token_ids
    _check_prompt(prompt, vocab_size=plan.vocab_size, max_seq_len=limits.max_seq_len)
    params = request.params
    eos = () if params.ignore_eos else plan.eos_token_ids
    token_ids = list(prompt)
    speculate = speculate if params.speculate is None else params.speculate
    return Sequence(
        request_id=request.request_id,
        token_ids=token_ids,
        params=params,
        max_len=min(len(prompt) + params.max_tokens, limits.max_seq_len),
        end_token_ids=frozenset((*eos, *params.stop_token_ids, *request.stop_tokens)),
        seed=secrets.randbits(64) if params.seed is None else params.seed,
        priority=params.priority,
        deadline=_deadline(params.deadline_ms),
        drafter=Drafter(token_ids) if speculate else None,
    )


def check_top_k(params: SamplingParams, most: int | None) -> None:
    """Raises InvalidRequestError for a top_k above the number of candidates that an engine returns.

    most: see Capabilities.max_top_k.
    """
    if most is not None and params.top_k > most:
        raise InvalidRequestError(
            f"top_k must be at most {most}, the candidates that this engine returns, got "
            f"{params.top_k}",
            hint="build it with more --num-candidates or with --full-logits",
        )


def check_logits(params: SamplingParams, plan: EnginePlan) -> None:
    """Raise UnsupportedFieldError for a field that needs logits which the engine lacks."""
    if plan.samples_from_all_logits:
        return
    for name, value in params.logit_changes.items():
        raise UnsupportedFieldError(
            f"{name} is not supported by an engine that does not sample from the logits of all "
            f"tokens, got {value}",
            hint="build it with --full-logits" if plan.target == "tensorrt" else None,
        )


def limits_of(limits: Limits, options: EngineOptions, *, chunk_multiple: int = 1) -> Limits:
    """Returns the plan's limits, reduced as the options ask.

    Raises PlanError for a limit above the plan's, or a step too small for one chunk.
    """
    for name in ("max_batch_size", "max_num_tokens"):
        value, most = getattr(options, name), getattr(limits, name)
        if value is not None and value > most:
            raise PlanError(f"{name} must be at most the plan's {most}, got {value}")
    max_num_tokens = options.max_num_tokens or limits.max_num_tokens
    if max_num_tokens < chunk_multiple:
        raise PlanError(
            f"max_num_tokens is {max_num_tokens}, with this KV cache it must be at least "
            f"{chunk_multiple}, a whole block"
        )
    max_batch_size = options.max_batch_size or limits.max_batch_size
    return Limits(
        max_batch_size=min(max_batch_size, max_num_tokens - chunk_multiple + 1),
        max_num_tokens=max_num_tokens,
        max_seq_len=limits.max_seq_len,
    )


def check_prompt_length(num_tokens: int, *, max_seq_len: int) -> None:
    """Raises InvalidRequestError for a prompt that leaves no room for one token of an answer."""
    longest = max_seq_len - 1
    if num_tokens > longest:
        raise InvalidRequestError(
            f"the prompt has {num_tokens} tokens, at most {longest} fit: max_seq_len is "
            f"{max_seq_len}, and one is left for the answer"
        )


def _check_prompt(prompt: tuple[int, ...], *, vocab_size: int, max_seq_len: int) -> None:
    if not prompt:
        raise InvalidRequestError("the prompt is empty: it must have at least one token")
    check_prompt_length(len(prompt), max_seq_len=max_seq_len)
    if min(prompt) < 0 or max(prompt) >= vocab_size:
        wrong = next(i for i in prompt if not 0 <= i < vocab_size)
        raise InvalidRequestError(
            f"the prompt holds token {wrong}, token ids are between 0 and {vocab_size - 1}"
        )


def may_speculate(plan: EnginePlan, options: EngineOptions) -> bool:
    """True if draft tokens are used unless a request says otherwise.

    The default is to use them where the size of a step changes no token: in native engines, and
    with kernels and KV cache in f32.
    """
    if options.speculate is not None:
        return options.speculate
    is_exact = plan.deterministic or plan.precision == "f32"
    return plan.target == "native" or (is_exact and plan.kv_cache_precision == "f32")


def _deadline(deadline_ms: int | None) -> float:
    return math.inf if deadline_ms is None else time.monotonic() + deadline_ms / 1e3
