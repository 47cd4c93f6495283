"""`python -m benchmarks.memory PLAN ...`: the memory that `llmasos plan` says, and what it is.

Each plan is loaded in a process of its own, which then fills every block of its KV cache. What
its resident size grew by is compared with the prediction.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from llmasos.engine.plan import EnginePlan
from llmasos.sampling import SamplingParams
from llmasos_app.cache.engine_cache import find_built
from llmasos_builder.sizes import network_sizes, plan_spec
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.kv_cache.blocks import blocks_for
from llmasos_runtime.load import load_engine
from llmasos_runtime.machine.memory_need import MemoryNeed
from llmasos_runtime.openvino.memory import plan_need
from llmasos_runtime.sequences.request import Request, Update

PROMPT_TOKENS = 248
NEW_TOKENS = 8
HEADER = ("plan", "predicted MB", "measured MB", "predicted / measured")


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Resident bytes of a process: what loading added, and filling the cache after that.

    num_blocks: of the cache, all of which were filled.
    """

    loading: int
    filling: int
    num_blocks: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plans", nargs="+", type=Path, help="built repositories or plans")
    parser.add_argument("--kv-cache-mb", type=int, default=150)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    kv_cache_bytes = options.kv_cache_mb * 10**6
    if options.measure:
        growth = measure_here(options.plans[0], kv_cache_bytes)
        print(json.dumps([growth.loading, growth.filling, growth.num_blocks]))
        return
    print("| " + " | ".join(HEADER) + " |\n" + "|---" * len(HEADER) + "|")
    for path in options.plans:
        plan_dir = find_built(path)
        assert plan_dir is not None, f"{path} is no plan"
        print(row(path.name, plan_dir, kv_cache_bytes), flush=True)


def row(name: str, plan_dir: Path, kv_cache_bytes: int) -> str:
    plan, need = EnginePlan.read(plan_dir), need_of(plan_dir)
    one_sequence = blocks_for(plan.limits.max_seq_len, need.block_size) * need.block_bytes
    growth = measure(plan_dir, max(kv_cache_bytes, one_sequence))
    expected, found = predict(plan_dir, growth.num_blocks), growth.loading + growth.filling
    cells = (name, f"{expected / 1e6:.0f}", f"{found / 1e6:.0f}", f"{expected / found:.3f}")
    return "| " + " | ".join(cells) + " |"


def predict(plan_dir: Path, num_blocks: int) -> int:
    """What `llmasos plan` says for a cache of so many blocks."""
    need = need_of(plan_dir)
    return need.without_cache + num_blocks * need.block_bytes


def need_of(plan_dir: Path) -> MemoryNeed:
    plan = EnginePlan.read(plan_dir)
    sizes = network_sizes(
        plan_spec(plan_dir),
        precision=plan.precision,
        target=plan.target,
        int4_except=plan.int8_matrices,
    )
    return plan_need(plan, sizes)


def measure(plan_dir: Path, kv_cache_bytes: int) -> Growth:
    """In a process that does nothing else."""
    command = [sys.executable, "-m", "benchmarks.memory", "--measure", str(plan_dir)]
    command += ["--kv-cache-mb", str(-(-kv_cache_bytes // 10**6))]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    loading, filling, num_blocks = json.loads(done.stdout)
    return Growth(loading=loading, filling=filling, num_blocks=num_blocks)


def measure_here(plan_dir: Path, kv_cache_bytes: int) -> Growth:
    """Load, then compute prompts that fill the KV cache together."""
    before = resident()
    engine = load_engine(
        plan_dir, EngineOptions(kv_cache_bytes=kv_cache_bytes, reuse_prefixes=False)
    )
    loaded = resident()
    num_blocks = engine.stats().num_blocks
    fill(engine, num_blocks)
    growth = Growth(loading=loaded - before, filling=resident() - loaded, num_blocks=num_blocks)
    engine.close()
    return growth


def fill(engine: Engine, num_blocks: int) -> None:
    """Prompts of random tokens, in all blocks at once, the first of them in a step of
    max_num_tokens.

    They are submitted together, by the engine's own thread between two steps: else a fast
    engine has ended the first before the last comes.
    """
    size, limits = engine.block_size, engine.plan.limits
    num_steps = -(-num_blocks * size // limits.max_num_tokens)  # until all are read
    num_new = NEW_TOKENS + num_steps
    longest = limits.max_seq_len // size
    each = min(
        max(-(-(PROMPT_TOKENS + num_new) // size), -(-num_blocks // limits.max_batch_size)), longest
    )
    num_prompts, rest = divmod(num_blocks, each)
    lengths = [each * size - num_new] * num_prompts
    if rest * size > num_new:
        lengths.append(rest * size - num_new)
    draw = random.Random(0)
    ended = threading.Semaphore(0)

    def note(update: Update) -> None:
        if update.error is not None:
            raise update.error
        if update.is_final:
            ended.release()

    def submit(index: int, length: int, sink: Callable[[Update], None]) -> None:
        prompt = tuple(draw.choices(range(engine.plan.vocab_size), k=length))
        params = SamplingParams(max_tokens=num_new, ignore_eos=True)
        request = Request(request_id=f"{index}", prompt_token_ids=prompt, params=params)
        engine.submit(request, sink)

    def begin(update: Update) -> None:
        note(update)
        if update.is_final:
            for index, length in enumerate(lengths):
                submit(index, length, note)

    submit(-1, 1, begin)
    for _ in range(1 + len(lengths)):
        ended.acquire()


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
