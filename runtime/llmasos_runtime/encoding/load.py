"""Loads the engine of a plan that sees each text once."""

from __future__ import annotations

from pathlib import Path

from llmasos.engine.plan import EnginePlan
from llmasos.engine.plan_lock import PlanHold
from llmasos.errors import PlanError
from llmasos.text.tokenizer import Tokenizer

from llmasos_runtime.encoding.text_engine import TextEngine
from llmasos_runtime.engine.admission import limits_of
from llmasos_runtime.options import EngineOptions


def load_text_engine(directory: Path | str, options: EngineOptions | None = None) -> TextEngine:
    """Checks a plan's files and loads its engine.

    Raises PlanError in one line, also for a plan that continues texts.
    """
    from llmasos_runtime.encoding.text_runner import load_text_runner  # noqa: PLC0415

    options = options or EngineOptions()
    directory = Path(directory)
    hold = PlanHold(directory)
    plan = EnginePlan.load(directory)
    if plan.encoder is None:
        raise PlanError(f"{plan.name} is built for the task {plan.task}, and for no other")
    tokenizer = Tokenizer.load(directory)
    runner = load_text_runner(plan, directory, options)
    limits = limits_of(plan.limits, options)
    return TextEngine(
        plan, tokenizer, runner, limits, max_queue_size=options.max_queue_size, hold=hold
    )
