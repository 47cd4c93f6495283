"""Measures how fast one engine is, in a process of its own: `python -m llmasos_app.report.speed`.

So that the time to load is that of a fresh process, and the memory is this engine's alone. The
process reads its job as JSON from stdin and writes the result as JSON to stdout.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos.errors import PlanError

if TYPE_CHECKING:
    from llmasos_app.llm import LLM

PROMPT_TOKENS = 80
NEW_TOKENS = 64
STREAMS = (1, 8)
_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What one engine takes on this machine.

    load_s: seconds from the plan to an engine. first_token_ms: the median time from a prompt of
    80 tokens to its first new token. tokens_per_s: new tokens a second at one stream and at
    eight, prompts included. memory_bytes: the most memory that the process had in use.
    """

    load_s: float
    first_token_ms: float
    tokens_per_s: tuple[float, float]
    memory_bytes: int

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Speed:
        """Returns the speed whose `dataclasses.asdict`, read from JSON, this is."""
        one, eight = record["tokens_per_s"]
        return cls(
            load_s=record["load_s"],
            first_token_ms=record["first_token_ms"],
            tokens_per_s=(one, eight),
            memory_bytes=record["memory_bytes"],
        )


def measure_speed(plan_dir: Path, prompts: Sequence[Sequence[int]], threads: int | None) -> Speed:
    """Measures an engine in a fresh process. prompts: token ids, one prompt for each stream.

    Raises PlanError with the last line of what the process said, where it failed.
    """
    job = {"plan": str(plan_dir), "prompts": [*map(list, prompts)], "threads": threads}
    done = subprocess.run(
        [sys.executable, "-m", "llmasos_app.report.speed"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise PlanError(f"{plan_dir} cannot be measured: {said[-1]}")
    return Speed.from_record(json.loads(done.stdout.splitlines()[-1]))


def _measure(plan_dir: str, prompts: Sequence[Sequence[int]], threads: int | None) -> Speed:
    from llmasos_app.llm import LLM  # noqa: PLC0415 - its import is a part of what is timed

    begun = time.perf_counter()
    with LLM(plan_dir, num_threads=threads, reuse_prefixes=False) as llm:
        load_s = time.perf_counter() - begun
        _answer(llm, prompts[:1], 2)  # the first step makes what later ones reuse
        firsts = [_answer(llm, [prompts[i % len(prompts)]], 1) for i in range(2 * _ROUNDS)]
        rates = []
        for count in STREAMS:
            each = [prompts[i % len(prompts)] for i in range(count)]
            took = statistics.median(_answer(llm, each, NEW_TOKENS) for _ in range(_ROUNDS))
            rates.append(count * NEW_TOKENS / took)
    return Speed(
        load_s=load_s,
        first_token_ms=statistics.median(firsts) * 1000,
        tokens_per_s=(rates[0], rates[1]),
        memory_bytes=_most_memory_bytes(),
    )


def _answer(llm: LLM, prompts: Sequence[Sequence[int]], num_tokens: int) -> float:
    """Returns the seconds that greedy answers of so many tokens take together."""
    begun = time.perf_counter()
    llm.generate_from_tokens(
        prompts, max_tokens=num_tokens, temperature=0, ignore_eos=True, speculate=False
    )
    return time.perf_counter() - begun


def _most_memory_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024


if __name__ == "__main__":
    given = json.load(sys.stdin)
    speed = _measure(given["plan"], given["prompts"], given["threads"])
    sys.stdout.write(json.dumps(dataclasses.asdict(speed)) + "\n")
