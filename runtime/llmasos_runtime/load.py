"""Loads a plan's engine on this machine; each target's code is imported when it is needed."""

from __future__ import annotations

from pathlib import Path

from llmasos.engine.plan import EnginePlan
from llmasos.engine.plan_lock import PlanHold
from llmasos.text.tokenizer import Tokenizer

from llmasos_runtime.engine.admission import limits_of, recommended_by
from llmasos_runtime.engine.engine import Engine
from llmasos_runtime.options import EngineOptions
from llmasos_runtime.runner import ModelRunner


def load_engine(directory: Path | str, options: EngineOptions | None = None) -> Engine:
    """Check a plan's files and load its engine; raises PlanError in one line.

    That is also raised for a plan that was built for another task than to generate.
    """
    options = options or EngineOptions()
    directory = Path(directory)
    hold = PlanHold(directory)
    plan = EnginePlan.load(directory)
    plan.check_task("generate")
    tokenizer = Tokenizer.load(directory)
    recommended = recommended_by(plan, directory, options)
    if plan.target == "tensorrt-llm":
        from llmasos_runtime.tensorrt_llm.load import BLOCK_SIZE, load_executor  # noqa: PLC0415

        limits = limits_of(plan.limits, options)
        return Engine(
            plan,
            tokenizer,
            load_executor(plan, limits, options),
            limits=limits,
            block_size=BLOCK_SIZE,
            generation_config=recommended,
            hold=hold,
        )
    runner = _load_runner(plan, directory, options)
    return Engine.over(plan, tokenizer, runner, options, generation_config=recommended, hold=hold)


def _load_runner(plan: EnginePlan, directory: Path, options: EngineOptions) -> ModelRunner:
    if plan.target == "tensorrt":
        from llmasos_runtime.tensorrt.load import load_tensorrt  # noqa: PLC0415

        return load_tensorrt(plan, directory, options)
    if plan.target == "native":
        from llmasos_runtime.native.load import load_native  # noqa: PLC0415

        return load_native(plan, directory, options)
    from llmasos_runtime.openvino.load import load_openvino  # noqa: PLC0415

    return load_openvino(plan, directory, options)


def check_target(plan: EnginePlan, directory: Path) -> None:
    """Raises PlanError, quickly, for a plan that cannot run on this machine."""
    if plan.target == "native":
        from llmasos_runtime.native.code import code_for_this_machine  # noqa: PLC0415

        code_for_this_machine(plan)
    if plan.target == "tensorrt":
        from llmasos_runtime.tensorrt.preflight import check_machine, check_ranks  # noqa: PLC0415

        check_ranks(plan)  # first: it is vain to ask for more GPUs
        check_machine(plan, directory)
    if plan.target == "tensorrt-llm":
        from llmasos_runtime.tensorrt_llm.library import check_installed  # noqa: PLC0415

        check_installed()
