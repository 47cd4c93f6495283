"""Admission: checks requests and options, and turns requests into sequences."""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmasos.engine.plan import EnginePlan, Limits
from llmasos.errors import InvalidRequestError, PlanError, UnsupportedFieldError
from llmasos.generation_config import GenerationConfig
from llmasos.sampling import SamplingParams
from llmasos.text.tokenizer import Tokenizer

from llmasos_runtime.engine.forced_last import forced_last
from llmasos_runtime.engine.prompt_checks import check_prompt
from llmasos_runtime.engine.token_fields import check_token_fields, with_bad_words
from llmasos_runtime.options import EngineOptions
from llmasos_runtime.sampling.grammar import Grammars, GrammarState
from llmasos_runtime.sampling.logit_changes import LogitChanges
from llmasos_runtime.sequences.drafter import Drafter
from llmasos_runtime.sequences.given_drafts import GivenDrafts
from llmasos_runtime.sequences.request import Request
from llmasos_runtime.sequences.sequence import Sequence
from llmasos_runtime.text.special_stops import with_special_stops

_MAX_LOGITS_BYTES = 1 << 30
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
    request: Request, config: GenerationConfig, tokenizer: Tokenizer, grammars: Grammars
) -> Request:
    """Returns the request with its open fields filled in, its words looked up and its guide
    compiled.
    """
    num_prompt_tokens = len(request.prompt_token_ids)
    params = config.complete(request.params, num_prompt_tokens=num_prompt_tokens)
    request = replace(
        request,
        params=params,
        bad_words=(*request.bad_words, *config.bad_words),
        forced_eos_token_id=config.forced_eos_token_id,
    )
    request = with_special_stops(request, tokenizer.special_tokens)
    if params.guide is not None:
        request = replace(request, grammar=grammars.compiled(params.guide))
    return with_bad_words(request, tokenizer)


def sequences_of(
    request: Request, plan: EnginePlan, limits: Limits, *, speculate: bool = False
) -> list[Sequence]:
    """Returns a sequence for each answer; max_tokens is reduced to fit max_seq_len.

    The first draws by the seed of the request, or a fresh one, and each other by the next number.

    limits: those of the engine, which may be smaller than the plan's. speculate: whether to use
    draft tokens if the request does not say.
    Raises InvalidRequestError for a prompt that is empty, too long, or holds an invalid token id.
    """
    prompt = request.prompt_token_ids
    check_prompt(prompt, vocab_size=plan.vocab_size, max_seq_len=limits.max_seq_len)
    params = request.params
    check_token_fields(request, vocab_size=plan.vocab_size)
    eos = () if params.ignore_eos and request.grammar is None else plan.eos_token_ids
    speculate = speculate if params.speculate is None else params.speculate
    seed = secrets.randbits(64) if params.seed is None else params.seed
    ends = frozenset((*eos, *params.stop_token_ids, *request.stop_tokens))
    deadline = _deadline(params.deadline_ms)
    max_len = min(len(prompt) + params.max_tokens, limits.max_seq_len)

    def sequence(index: int) -> Sequence:
        token_ids = list(prompt)
        return Sequence(
            request_id=request.request_id,
            token_ids=token_ids,
            params=params,
            max_len=max_len,
            end_token_ids=ends,
            seed=(seed + index) % 2**64,
            priority=params.priority,
            deadline=deadline,
            wants_logits=request.wants_logits,
            encoder_token_ids=request.encoder_token_ids,
            drafter=_drafter(token_ids, request, speculate=speculate),
            logit_changes=_logit_changes(request, token_ids, plan, max_len=max_len),
        )

    return [sequence(index) for index in range(params.n)]


def _logit_changes(
    request: Request, token_ids: list[int], plan: EnginePlan, *, max_len: int
) -> LogitChanges | None:
    return LogitChanges.asked_for(
        request.params,
        token_ids,
        bad_words=request.bad_words,
        forced_last=forced_last(request, max_len=max_len),
        grammar=GrammarState.of(request.grammar, token_ids, vocab_size=plan.vocab_size),
    )


def _drafter(
    token_ids: list[int], request: Request, *, speculate: bool
) -> Drafter | GivenDrafts | None:
    drafter = Drafter(token_ids) if speculate else None
    if not request.draft_token_ids:
        return drafter
    return GivenDrafts(token_ids, request.draft_token_ids, after=drafter)


def check_executor(request: Request, plan: EnginePlan, *, max_draft_tokens: int) -> None:
    """Raises UnsupportedFieldError for what the engine's runner, or TensorRT-LLM, cannot do."""
    if request.draft_token_ids and not max_draft_tokens:
        raise UnsupportedFieldError(
            "draft_input_ids is not supported by an engine that computes no draft tokens, got "
            f"{len(request.draft_token_ids)} tokens"
        )
    if request.is_timed and plan.target == "tensorrt-llm":
        raise UnsupportedFieldError("return_perf_metrics is not supported with tensorrt_llm")


def check_free(request_id: str, taken: Container[str]) -> None:
    """Raises InvalidRequestError for the id of a request that runs."""
    if request_id in taken:
        raise InvalidRequestError(f"request_id {request_id!r} is in use by a running request")


def check_top_k(params: SamplingParams, most: int | None) -> None:
    """Raises InvalidRequestError for more tokens than the candidates that an engine returns.

    most: see Capabilities.max_top_k.
    """
    for name, value in (("top_k", params.top_k), ("logprobs", params.logprobs or 0)):
        if most is not None and value > most:
            raise InvalidRequestError(
                f"{name} must be at most {most}, the candidates that this engine returns, got "
                f"{value}",
                hint="build it with more --num-candidates or with --full-logits",
            )


def check_logits_size(request: Request, plan: EnginePlan) -> None:
    """Raises InvalidRequestError where the logits that are asked for would fill the memory."""
    most = _MAX_LOGITS_BYTES // (4 * plan.vocab_size)
    count = min(request.params.max_tokens, plan.limits.max_seq_len) * request.params.n
    if request.wants_logits and count > most:
        raise InvalidRequestError(
            f"return_generation_logits is allowed for at most {most} tokens of this vocabulary, "
            f"the answers may have {count}"
        )


def check_logits(request: Request, plan: EnginePlan) -> None:
    """Raise UnsupportedFieldError for a field that needs logits which the engine lacks."""
    if plan.samples_from_all_logits:
        return
    asked: dict[str, Any] = request.params.logit_changes
    if request.bad_words:
        asked = {"bad_words": request.bad_words, **asked}
    if request.wants_logits:
        asked = {**asked, "return_generation_logits": True}
    if request.params.beam_width > 1:
        asked = {**asked, "beam_width": request.params.beam_width}
    for name, value in asked.items():
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
