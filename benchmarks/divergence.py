"""`python -m benchmarks.divergence`: where smaller precisions leave f32, and what a batch changes.

Each prompt is continued greedily, alone and together with the others. A row tells for one
plan how many prompts got another token than the f32 plan gave, at which token that first
happened, and how many got other tokens in the batch than alone.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llmasos.errors import LLMasOSError
from llmasos.sampling import SamplingParams
from llmasos.text.tokenizer import Tokenizer
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.load import load_engine
from llmasos_runtime.sequences.request import Request, Update

from benchmarks.prompts import make_prompts

Tokens = list[list[int]]
PLANS = {
    "f32": BuildOptions(target="openvino", precision="f32"),
    "f32, u8 cache": BuildOptions(target="openvino", precision="f32", kv_cache_precision="u8"),
    "bf16": BuildOptions(target="openvino", precision="bf16"),
    "int8, deterministic": BuildOptions(target="openvino", precision="int8", deterministic=True),
    "int8 (the default)": BuildOptions(target="openvino", precision="int8"),
}
HEADER = ("plan", "diverge from f32", "median first token", "in a batch not as alone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="smollm2-135m-instruct")
    parser.add_argument("--prompts", type=int, default=32, help="how many, of 80 tokens each")
    parser.add_argument("--new-tokens", type=int, default=128)
    options = parser.parse_args()
    print("| " + " | ".join(HEADER) + " |\n" + "|---" * len(HEADER) + "|")
    reference: Tokens | None = None
    for label, build in PLANS.items():
        with loaded(options.checkpoint, build) as engine:
            prompts = prompts_for(engine.tokenizer, options.prompts)
            alone = [continuations(engine, [p], options.new_tokens)[0] for p in prompts]
            together = continuations(engine, prompts, options.new_tokens)
        reference = reference or alone
        print("| " + " | ".join(row(label, reference, alone, together)) + " |", flush=True)


@contextmanager
def loaded(checkpoint: str, build: BuildOptions) -> Iterator[Engine]:
    """An engine of a plan that is built for this and then removed."""
    with tempfile.TemporaryDirectory() as scratch:
        plan_dir = Path(scratch) / "plan"
        build_plan(checkpoint, plan_dir, build)
        engine = load_engine(plan_dir, EngineOptions(reuse_prefixes=False))
        try:
            yield engine
        finally:
            engine.close()


def prompts_for(tokenizer: Tokenizer, count: int) -> list[tuple[int, ...]]:
    return [p.token_ids for p in make_prompts(tokenizer, count=count, num_tokens=80)]


def continuations(engine: Engine, prompts: Sequence[tuple[int, ...]], num_tokens: int) -> Tokens:
    """What follows each prompt when all are submitted at once."""
    tokens: Tokens = [[] for _ in prompts]
    done = [threading.Event() for _ in prompts]
    errors: list[LLMasOSError] = []
    params = SamplingParams(max_tokens=num_tokens, ignore_eos=True, speculate=False)

    def sink(update: Update) -> None:
        if update.error is not None:
            errors.append(update.error)
        tokens[int(update.request_id)] += update.token_ids
        if update.is_final:
            done[int(update.request_id)].set()

    for number, prompt in enumerate(prompts):
        engine.submit(Request(request_id=str(number), prompt_token_ids=prompt, params=params), sink)
    for event in done:
        event.wait()
    if errors:
        raise errors[0]
    return tokens


def row(label: str, reference: Tokens, alone: Tokens, together: Tokens) -> tuple[str, ...]:
    firsts = [n for n in map(first_difference, reference, alone) if n is not None]
    changed = sum(a != b for a, b in zip(alone, together, strict=True))
    median = f"{statistics.median(firsts):g}" if firsts else "-"
    count = len(alone)
    return (label, f"{len(firsts)} of {count}", median, f"{changed} of {count}")


def first_difference(expected: Sequence[int], given: Sequence[int]) -> int | None:
    """The first place where two continuations differ, None if they do not."""
    pairs = enumerate(zip(expected, given, strict=True))
    return next((place for place, (a, b) in pairs if a != b), None)


if __name__ == "__main__":
    main()
