"""Measures one variant: its size, its speed, and how well it predicts a text.

What was measured is kept in the cache under everything that it depends on: the plan's files, the
reference's, the text, the options and this machine. A report that is made again, or that was
stopped, measures only what is new.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmasos.cache import make_directory, reports_dir
from llmasos.engine.plan import EnginePlan
from llmasos.errors import InvalidRequestError, PlanError
from llmasos.progress import Progress
from llmasos.text.tokenizer import Tokenizer
from llmasos.version import __version__
from llmasos_builder.cpu_target import machine_facts
from llmasos_runtime.evaluation.evaluate import EvaluationOptions, evaluate

from llmasos_app.report.speed import NEW_TOKENS, PROMPT_TOKENS, STREAMS, Speed, measure_speed
from llmasos_app.report.variant import Variant

_FORMAT = 1
"""Of what is kept; another number measures all again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One row of a report.

    disk_bytes: of the plan's files. perplexity: over the text. kl_divergence, agreement: the mean
    KL(reference || this) in nats a token, and the share of tokens for which both have the same
    likeliest one. speed: see `Speed`.
    """

    name: str
    target: str
    precision: str
    command: str
    disk_bytes: int
    perplexity: float
    kl_divergence: float
    agreement: float
    speed: Speed

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Measurement:
        """Returns the measurement whose `dataclasses.asdict`, read from JSON, this is."""
        fields: dict[str, Any] = {**record, "speed": Speed.from_record(record["speed"])}
        return cls(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What all rows of a report share: the text with its file's name, how it is read, and the CPU
    threads.
    """

    name: str
    text: str
    evaluation: EvaluationOptions

    @property
    def described(self) -> str:
        """The conditions in words."""
        return (
            "Perplexity, KL divergence and agreement over the first "
            f"{self.evaluation.num_tokens} tokens of {self.name} in windows of "
            f"{self.evaluation.window}; speed with prompts of {PROMPT_TOKENS} tokens and "
            f"{NEW_TOKENS} new ones, prompts included; memory is the most that the process had in "
            "use."
        )

    def prompts(self, plan_dir: Path) -> list[list[int]]:
        """Returns a prompt for each stream, out of the text. Raises InvalidRequestError."""
        token_ids = Tokenizer.load(plan_dir).encode(self.text)
        if len(token_ids) < PROMPT_TOKENS:
            raise InvalidRequestError(
                f"the text has {len(token_ids)} tokens, at least {PROMPT_TOKENS} are needed"
            )
        last = len(token_ids) - PROMPT_TOKENS
        places = [last * i // max(STREAMS) for i in range(max(STREAMS))]
        return [token_ids[at : at + PROMPT_TOKENS] for at in places]


def measure(
    variant: Variant, reference: Variant, conditions: Conditions, progress: Progress
) -> Measurement:
    """Measures a variant against the reference, unless the cache has that already.

    Raises PlanError and InvalidRequestError, naming the variant.
    """
    kept = reports_dir() / f"{_key(variant, reference, conditions)}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        record = json.loads(kept.read_text(encoding="utf-8"))
        named = {"name": variant.name, "command": variant.command}
        return Measurement.from_record({**record, **named})
    try:
        found = _measure(variant, reference, conditions, progress)
    except (PlanError, InvalidRequestError) as error:
        raise type(error)(f"{variant.name}: {error}") from error
    _keep(found, kept)
    return found


def _measure(
    variant: Variant, reference: Variant, conditions: Conditions, progress: Progress
) -> Measurement:
    plan = EnginePlan.read(variant.plan_dir)
    threads = conditions.evaluation.num_threads
    progress(f"speed of {variant.name}", 0, 1)
    speed = measure_speed(variant.plan_dir, conditions.prompts(variant.plan_dir), threads)
    is_reference = variant.plan_dir == reference.plan_dir
    predicted = evaluate(
        variant.plan_dir,
        conditions.text,
        conditions.evaluation,
        against=None if is_reference else reference.plan_dir,
        progress=_named(progress, f"text with {variant.name}"),
    )
    distance = predicted.distance
    return Measurement(
        name=variant.name,
        target=plan.target,
        precision=plan.precision,
        command=variant.command,
        disk_bytes=sum(file.size for file in plan.files.values()),
        perplexity=predicted.perplexity,
        kl_divergence=0.0 if distance is None else distance.kl_divergence,
        agreement=1.0 if distance is None else distance.agreement,
        speed=speed,
    )


def _named(progress: Progress, name: str) -> Progress:
    """Returns a progress whose stages are all said as this one."""

    def report(stage: str, done: int, total: int) -> None:
        del stage
        progress(name, done, total)

    return report


def _key(variant: Variant, reference: Variant, conditions: Conditions) -> str:
    plans = (EnginePlan.read(one.plan_dir) for one in (variant, reference))
    parts: Sequence[object] = [
        _FORMAT,
        __version__,
        machine_facts(),
        platform.node(),
        os.cpu_count(),
        [plan.model_dump(mode="json", include={"files", "target", "limits"}) for plan in plans],
        conditions.text,
        dataclasses.asdict(conditions.evaluation),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _keep(found: Measurement, kept: Path) -> None:
    """Writes a measurement into the cache, if that can be written."""
    with suppress(OSError):
        make_directory(kept.parent)
        part = kept.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(dataclasses.asdict(found), indent=1), encoding="utf-8")
        part.replace(kept)
