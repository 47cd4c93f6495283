"""Perplexity of a plan over a text, and its distance to another plan of the checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmasos.engine.plan import EnginePlan
from llmasos.errors import InvalidRequestError, PlanError
from llmasos.progress import Progress
from llmasos.text.tokenizer import TOKENIZER_FILE, Tokenizer

from llmasos_runtime.evaluation.forward import load_forward
from llmasos_runtime.evaluation.measures import divergence, target_scores
from llmasos_runtime.evaluation.teacher_forcing import predict
from llmasos_runtime.evaluation.window import Window, make_windows

DEFAULT_WINDOW = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """Options for reading a text.

    window: tokens that the engine sees together; None is 1024, or the plan's max_seq_len if that is
    less. stride: tokens between the beginnings of two windows; None is the window.
    token_by_token: feed one token at a time through the KV cache, as in decoding. num_tokens:
    evaluate only the first num_tokens tokens; None evaluates all. num_threads: CPU threads; None is
    one for each physical core.
    """

    window: int | None = None
    stride: int | None = None
    token_by_token: bool = False
    num_tokens: int | None = None
    num_threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """The distance of a plan to the one it is compared with, over the predicted tokens.

    agreement: share of tokens for which both have the same likeliest token. kl_divergence: mean of
    KL(that plan || this one), in nats.
    """

    name: str
    precision: str
    kv_cache_precision: str
    agreement: float
    kl_divergence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The result of an evaluation.

    num_tokens: tokens of the text. num_predicted, num_bytes: tokens that were predicted, and their
    bytes of text. nats: summed negative log-likelihood of the predicted tokens.
    """

    name: str
    precision: str
    kv_cache_precision: str
    window: int
    stride: int
    token_by_token: bool
    num_tokens: int
    num_predicted: int
    num_bytes: int
    nats: float
    distance: Distance | None = None

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-likelihood of a predicted token."""
        return math.exp(self.nats / self.num_predicted)

    @property
    def bits_per_byte(self) -> float:
        """Bits that a coder with this model would need for each predicted byte."""
        return self.nats / math.log(2) / self.num_bytes if self.num_bytes else math.nan


def evaluate(
    plan_dir: Path,
    text: str,
    options: EvaluationOptions,
    *,
    against: Path | None = None,
    progress: Progress,
) -> Evaluation:
    """Evaluates a plan on a text. against: another plan with the same tokenizer to compare with.

    Raises PlanError, and InvalidRequestError naming the field, its value and its limit.
    """
    plans = [EnginePlan.read(path) for path in (plan_dir, against) if path is not None]
    _check_pair(plans)
    window, stride = _sizes(options, plans)
    tokenizer = Tokenizer.load(plan_dir)
    token_ids, ends = tokenizer.encode_with_ends(text)
    token_ids = token_ids[: options.num_tokens]
    windows = make_windows(token_ids, length=window, stride=stride)
    if not windows:
        raise InvalidRequestError(f"the text has {len(token_ids)} tokens, at least 2 are needed")
    nats, kl, num_agreed = 0.0, 0.0, 0
    engines = [
        load_forward(path, slot_tokens=window, num_threads=options.num_threads)
        for path in (plan_dir, against)
        if path is not None
    ]
    for found in predict(
        engines, windows, token_by_token=options.token_by_token, progress=progress
    ):
        nats -= math.fsum(target_scores(found.logits[0], found.targets)[0])
        if against is not None:
            one_kl, one_agreed = divergence(found.logits[1], found.logits[0])
            kl, num_agreed = kl + one_kl, num_agreed + one_agreed
    num_predicted = sum(one.num_targets for one in windows)
    return Evaluation(
        name=plans[0].name,
        precision=plans[0].precision,
        kv_cache_precision=plans[0].kv_cache_precision,
        window=window,
        stride=stride,
        token_by_token=options.token_by_token,
        num_tokens=len(token_ids),
        num_predicted=num_predicted,
        num_bytes=_num_bytes(text, ends, windows),
        nats=nats,
        distance=_distance(plans, num_agreed / num_predicted, kl / num_predicted),
    )


def _distance(plans: Sequence[EnginePlan], agreement: float, kl: float) -> Distance | None:
    if len(plans) == 1:
        return None
    return Distance(
        name=plans[1].name,
        precision=plans[1].precision,
        kv_cache_precision=plans[1].kv_cache_precision,
        agreement=agreement,
        kl_divergence=kl,
    )


def _check_pair(plans: Sequence[EnginePlan]) -> None:
    """Refuses plans that differ in tokenizer: their predictions cannot be compared. Weights may
    differ, as those of a pruned or quantized checkpoint do.
    """
    first = plans[0]
    for other in plans[1:]:
        if other.files.get(TOKENIZER_FILE) != first.files.get(TOKENIZER_FILE):
            raise PlanError(f"{first.name} and {other.name} have different tokenizers")


def _sizes(options: EvaluationOptions, plans: Sequence[EnginePlan]) -> tuple[int, int]:
    """Returns window and stride."""
    longest = min(plan.limits.max_seq_len for plan in plans)
    window = min(DEFAULT_WINDOW, longest) if options.window is None else options.window
    if not 2 <= window <= longest:
        raise InvalidRequestError(
            f"window must be between 2 and {longest}, the plan's max_seq_len, got {window}"
        )
    stride = window if options.stride is None else options.stride
    if not 1 <= stride <= window:
        raise InvalidRequestError(f"stride must be between 1 and the window {window}, got {stride}")
    if options.num_tokens is not None and options.num_tokens < 2:
        raise InvalidRequestError(f"tokens must be at least 2, got {options.num_tokens}")
    return window, stride


def _num_bytes(text: str, ends: Sequence[int], windows: Sequence[Window]) -> int:
    """Bytes of text of the predicted tokens; ends: the end of each token's text."""
    total = 0
    for window in windows:
        first = window.begin + window.first_target
        last = window.begin + len(window.token_ids) - 1
        total += len(text[ends[first - 1] : ends[last]].encode())
    return total
