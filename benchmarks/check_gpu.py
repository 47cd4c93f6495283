"""`python -m benchmarks.check_gpu`: build for this machine's GPU, run, compare, measure.

It has never run on a GPU. What it compares and measures with is tested on engines whose GPU is
made up.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from llmasos.engine.engine_io import RTX_GPUS
from llmasos.engine.nvidia_driver import DriverError, find_driver
from llmasos.engine.plan import EnginePlan
from llmasos.errors import LLMasOSError, PlanError
from llmasos.progress import show_progress
from llmasos.text.tokenizer import Tokenizer
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_builder.tensorrt.options import COMPUTE_TYPES
from llmasos_builder.tensorrt.verify import verify
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.load import load_engine
from llmasos_runtime.tensorrt.cuda import Cuda, load_cuda

from benchmarks.divergence import continuations
from benchmarks.gpu_parity import (
    Parity,
    allowed_for,
    compare,
    continued_by_interpreter,
    continued_on_cpu,
)
from benchmarks.gpu_speed import Speed, decode_speed, memory_bandwidth, prefill_speed, speed_table
from benchmarks.options import BENCHMARKS
from benchmarks.prompts import make_prompts

BATCHES = (1, 8, 32)
_MAX_SEQ_LEN = 1024
_PREFILL = 512
_COMPARED = 32  # tokens of each prompt
_INTERPRETED = 8  # the interpreter is slow


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="smollm2-135m-instruct")
    parser.add_argument("--precision", default="fp16")
    parser.add_argument("--work", type=Path, default=BENCHMARKS / "work" / "gpu")
    parser.add_argument("--new-tokens", type=int, default=256)
    options = parser.parse_args()
    try:
        return _check(options)
    except LLMasOSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _check(options: argparse.Namespace) -> int:
    name, gpu = find_gpu()
    plan_dir, cpu_dir = options.work / f"plan-{gpu}-{options.precision}", options.work / "plan-cpu"
    with show_progress() as progress:
        build = partial(BuildOptions, max_seq_len=_MAX_SEQ_LEN, max_batch_size=max(BATCHES))
        for_gpu = build(target="tensorrt", precision=options.precision, gpus=(gpu,))
        plan = build_plan(options.checkpoint, plan_dir, for_gpu, progress)
        build_plan(options.checkpoint, cpu_dir, build(precision="f32"), progress)
        checks = verify(plan_dir, progress)
    for check in checks:
        print(f"{'ok' if check.passed else 'differs':8}network, {check.name}: {check.error:.3%}")
    with closing(load_engine(plan_dir, EngineOptions())) as engine:
        parities = compare_all(engine, plan, cpu_dir)
    with closing(load_engine(plan_dir, EngineOptions(reuse_prefixes=False))) as engine:
        speeds = measure_all(
            engine, num_tokens=options.new_tokens, batches=BATCHES, prefill=_PREFILL
        )
    for parity in parities:
        print(parity)
    report(name, plan, plan_dir, speeds, load_cuda())
    return 0 if all(c.passed for c in checks) and all(p.passed for p in parities) else 1


def find_gpu() -> tuple[str, str]:
    """The first GPU's name, and what to build for. Raises PlanError where there is none."""
    driver = find_driver()
    if driver is None:
        raise PlanError("this machine has no NVIDIA driver, and so no GPU to check")
    try:
        gpus = driver.gpus()
    except DriverError as error:
        raise PlanError(str(error)) from error
    if not gpus:
        raise PlanError("NVIDIA's driver shows no GPU to check")
    gpu = gpus[0]
    return gpu.name, gpu.capability if gpu.capability in RTX_GPUS else "current"


def compare_all(
    engine: Engine, plan: EnginePlan, cpu_dir: Path, *, num_prompts: int = 8
) -> list[Parity]:
    """Prompts alone and together against the CPU in f32, and some against the interpreter.

    Alone each is asked a second time, so that its beginning is copied from the slot that it had
    before. What quantized weights lose is not the GPU's fault: they are not compared with f32.
    """
    prompts = prompts_of(engine.tokenizer, num_prompts, 40)
    allowed = allowed_for(plan)
    together = continuations(engine, prompts, _COMPARED)
    few = prompts[:2]
    network = continued_by_interpreter(plan, few, _INTERPRETED)
    given = [tokens[:_INTERPRETED] for tokens in together[: len(few)]]
    parities = [compare("to the interpreted network", given, network, allowed=allowed)]
    if COMPUTE_TYPES[plan.precision] == plan.precision:
        alone = [continuations(engine, [prompt], _COMPARED)[0] for prompt in prompts]
        on_cpu = continued_on_cpu(cpu_dir, prompts, _COMPARED)
        parities += [
            compare("together, to the CPU in f32", together, on_cpu, allowed=allowed),
            compare("alone and copied, to the CPU in f32", alone, on_cpu, allowed=allowed),
        ]
    return parities


def measure_all(
    engine: Engine, *, num_tokens: int, batches: Sequence[int], prefill: int
) -> list[Speed]:
    prompts = prompts_of(engine.tokenizer, max(batches), 40)
    speeds = [decode_speed(engine, prompts[:count], num_tokens) for count in batches]
    return [*speeds, prefill_speed(engine, prompts_of(engine.tokenizer, 8, prefill))]


def prompts_of(tokenizer: Tokenizer, count: int, num_tokens: int) -> list[tuple[int, ...]]:
    return [p.token_ids for p in make_prompts(tokenizer, count=count, num_tokens=num_tokens)]


def report(gpu: str, plan: EnginePlan, plan_dir: Path, speeds: Sequence[Speed], cuda: Cuda) -> None:
    assert plan.tensorrt is not None
    bandwidth = memory_bandwidth(cuda)
    weight_bytes = sum((plan_dir / file).stat().st_size for file in plan.tensorrt.engine_files)
    title = (
        f"{plan.name} in {plan.precision} on {gpu}: {weight_bytes / 1e6:,.0f} MB of weights, "
        f"copies inside its memory move {bandwidth / 1e9:,.0f} GB/s"
    )
    table = speed_table(title, speeds, weight_bytes=weight_bytes, bandwidth=bandwidth)
    print(table.to_markdown())


if __name__ == "__main__":
    sys.exit(main())
