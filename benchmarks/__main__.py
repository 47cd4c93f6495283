"""`python -m benchmarks`: compare the peers, print tables, write JSON, Markdown and a chart."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from llmasos.contract import PLAN_IN_REPOSITORY
from llmasos.engine.plan import EnginePlan
from llmasos.text.tokenizer import Tokenizer
from rich.console import Console

from benchmarks.catalogue import PeerSpec
from benchmarks.comparison import Comparison, Preparation
from benchmarks.environments import Environment, MissingPeerError, run_or_miss
from benchmarks.machine import can_compute_bf16, describe_machine
from benchmarks.models import Models
from benchmarks.options import BENCHMARKS, Options, parse_options
from benchmarks.peers.peer import PeerSettings
from benchmarks.prompts import make_prompts
from benchmarks.results import Conditions, Results, write_whole
from benchmarks.table import print_tables, to_markdown

ENVIRONMENTS = BENCHMARKS / ".envs"
WORK = BENCHMARKS / "work"
CHART = Environment(directory=ENVIRONMENTS / "chart", requirements=("matplotlib>=3.9",))


def main() -> None:
    options = parse_options()
    console = Console(stderr=True)
    options.output.mkdir(parents=True, exist_ok=True)
    results = compare(options, console)
    print_tables(results, _wide(Console()))  # first: a disk that is full must not lose them
    results.write(options.output / "results.json")
    write_whole(options.output / "results.md", to_markdown(results))
    try:
        draw_chart(options.output)
    except MissingPeerError as error:
        console.print(f"no chart: {error}", style="yellow")
    console.print(f"results are in {options.output}")


def compare(options: Options, console: Console) -> Results:
    machine = describe_machine()
    models = Models(options.checkpoint, directory=WORK, precision=options.precision)
    conditions = conditions_of(options, EnginePlan.read(models.repository / PLAN_IN_REPOSITORY))
    tokenizer = Tokenizer.load(models.repository / PLAN_IN_REPOSITORY)
    prompts = make_prompts(tokenizer, count=max(options.streams), num_tokens=options.prompt_tokens)

    def prepare(spec: PeerSpec) -> Preparation:
        python = python_of(spec)
        model = models.path(spec.model, python=python)
        log = options.output / f"{spec.name}.log"
        return Preparation(python=python, settings=settings_for(conditions, model), log=log)

    comparison = Comparison(conditions, prompts, report=partial(console.print, soft_wrap=True))
    return Results(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=machine,
        conditions=conditions,
        build_s=models.build_s,
        peers=comparison.run(options.peers, prepare),
    )


def conditions_of(options: Options, plan: EnginePlan) -> Conditions:
    """The options, and what the plan says that every peer shall do as well."""
    computes_bf16 = plan.precision != "f32" and can_compute_bf16()
    return Conditions(
        checkpoint=plan.name,
        precision=plan.precision,
        kv_cache_precision=plan.kv_cache_precision,
        precision_hint="bf16" if computes_bf16 else "f32",
        max_num_tokens=plan.limits.max_num_tokens,
        num_threads=options.num_threads,
        streams=options.streams,
        prompt_tokens=options.prompt_tokens,
        new_tokens=options.new_tokens,
        rounds=options.rounds,
    )


def settings_for(conditions: Conditions, model: Path) -> PeerSettings:
    return PeerSettings(
        model=str(model),
        num_threads=conditions.num_threads,
        max_num_tokens=conditions.max_num_tokens,
        max_streams=max(conditions.streams),
        max_seq_len=conditions.prompt_tokens + conditions.new_tokens,
        precision_hint=conditions.precision_hint,
        kv_cache_precision=conditions.kv_cache_precision,
    )


def python_of(spec: PeerSpec) -> Path:
    """The Python that runs a peer; raises MissingPeerError when it does not install."""
    if not spec.requirements:
        return Path(sys.executable)
    environment = Environment(
        directory=ENVIRONMENTS / spec.name,
        requirements=spec.requirements,
        needs_torch=spec.needs_torch,
        variables=spec.install_variables,
    )
    return environment.ensure()


def _wide(console: Console) -> Console:
    """Tables in a file or a pipe are not folded to 80 columns."""
    return console if console.is_terminal else Console(width=160)


def draw_chart(output: Path) -> None:
    """results.json as chart.png, drawn by the one environment that has matplotlib."""
    files = [str(output / "results.json"), str(output / "chart.png")]
    run_or_miss([str(CHART.ensure()), "-m", "benchmarks.chart", *files])


if __name__ == "__main__":
    main()
