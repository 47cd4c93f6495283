"""`python -m benchmarks.soft_cap CHECKPOINT`: what a soft cap on attention scores costs on the CPU.

A Gemma 2 checkpoint is built with its cap and without, each in its own way to attend. Both
engines read the same prompts and answer them, in turn, in one process; a step of answers is the
time of an answer of some tokens less that of one token. Without the cap the texts mean nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from llmasos_builder.build import BuildOptions, build_plan
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.load import load_engine

from benchmarks.divergence import continuations

NEW_TOKENS = 33
LOADS = ((1, 500), (1, 4000), (8, 500), (32, 500))
"""Streams, and tokens of each one's prompt."""
HEADER = ("streams x prompt", "prompts", "range", "steps of answers", "range", "ms with, without")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="directory of a Gemma 2 checkpoint")
    parser.add_argument("--precision", default="int8", choices=("f32", "bf16", "int8", "int4"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        build = BuildOptions(target="openvino", precision=options.precision)
        build_plan(options.checkpoint, Path(scratch, "with"), build)
        build_plan(without_cap(options.checkpoint, Path(scratch)), Path(scratch, "without"), build)
        chosen = EngineOptions(num_threads=options.threads, reuse_prefixes=False, speculate=False)
        engines = [load_engine(Path(scratch, name), chosen) for name in ("with", "without")]
        print("| " + " | ".join(HEADER) + " |\n" + "|---" * len(HEADER) + "|")
        for num_streams, length in LOADS:
            print(row(engines, num_streams, length, options.rounds), flush=True)
        for engine in engines:
            engine.close()


def without_cap(checkpoint: Path, scratch: Path) -> Path:
    """The same files, but that config.json has no cap."""
    directory = scratch / "checkpoint"
    directory.mkdir()
    for file in checkpoint.iterdir():
        (directory / file.name).symlink_to(file.resolve())
    config = json.loads((checkpoint / "config.json").read_text())
    (directory / "config.json").unlink()
    text = json.dumps(config | {"attn_logit_softcapping": None})
    (directory / "config.json").write_text(text)
    return directory


def row(engines: list[Engine], num_streams: int, length: int, num_rounds: int) -> str:
    """A first round, in which kernels are made, is left out."""
    rounds = [one_round(engines, num_streams, length, number) for number in range(num_rounds + 1)]
    prompts, steps = zip(*rounds[1:], strict=True)
    milliseconds = [1000 * statistics.median(times) for times in zip(*steps, strict=True)]
    cells = (
        f"{num_streams} x {length}",
        *ratios(prompts),
        *ratios(steps),
        f"{milliseconds[0]:.1f}, {milliseconds[1]:.1f}",
    )
    return "| " + " | ".join(cells) + " |"


def ratios(pairs: tuple[list[float], ...]) -> tuple[str, str]:
    """Of times with the cap to those without: the median, and the least and the most."""
    found = sorted(soft_capped / plain for soft_capped, plain in pairs)
    return f"{statistics.median(found):.2f}x", f"{found[0]:.2f}-{found[-1]:.2f}"


def one_round(
    engines: list[Engine], num_streams: int, length: int, number: int
) -> tuple[list[float], list[float]]:
    """Seconds of each engine to read the prompts, and to make a step of the answers."""
    draw = random.Random(number)
    vocabulary = range(3, min(engine.plan.vocab_size for engine in engines))
    prompts = [tuple(draw.choices(vocabulary, k=length)) for _ in range(num_streams)]
    reading, answering = [0.0] * len(engines), [0.0] * len(engines)
    for turn in range(len(engines)):
        index = (turn + number) % len(engines)
        reading[index] = seconds(engines[index], prompts, max_tokens=1)
        whole = seconds(engines[index], prompts, max_tokens=NEW_TOKENS)
        answering[index] = (whole - reading[index]) / (NEW_TOKENS - 1)
    return reading, answering


def seconds(engine: Engine, prompts: list[tuple[int, ...]], *, max_tokens: int) -> float:
    """Until the last of these answers has ended."""
    began = time.perf_counter()
    continuations(engine, prompts, max_tokens)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
