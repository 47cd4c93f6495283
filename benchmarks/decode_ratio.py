"""How much faster one model decodes than another: `python -m benchmarks.decode_ratio`.

At one stream, both answer one after the other in each round, the first one alternating, so that
other work on the machine meets both. The processor time of a token is less disturbed by it than
the time on the wall.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

from llmasos import LLM, SamplingParams

_PROMPT = "The history of the city begins with"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds of a token, on the wall and of the processor."""

    wall: float
    processor: float


def pace(model: LLM, num_tokens: int) -> Pace:
    """Decodes one answer; the first token, which has the prompt's time, does not count."""
    sampling = SamplingParams(
        max_tokens=num_tokens, temperature=0, ignore_eos=True, speculate=False
    )
    begun: tuple[float, float] | None = None
    for _ in model.stream(_PROMPT, sampling):
        begun = begun or (time.monotonic(), time.process_time())
    assert begun is not None
    wall, processor = time.monotonic() - begun[0], time.process_time() - begun[1]
    return Pace(wall=wall / (num_tokens - 1), processor=processor / (num_tokens - 1))


def main() -> None:
    """Print the median ratios over the rounds; a round before them warms both up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slower", help="a checkpoint or a built repository")
    parser.add_argument("faster", help="the other")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    walls, processors = [], []
    with (
        LLM(chosen.slower, num_threads=chosen.threads) as slower,
        LLM(chosen.faster, num_threads=chosen.threads) as faster,
    ):
        for index in range(chosen.rounds + 1):
            order = (slower, faster) if index % 2 else (faster, slower)
            paces = {id(model): pace(model, chosen.new_tokens) for model in order}
            one, other = paces[id(slower)], paces[id(faster)]
            if index:
                walls.append(one.wall / other.wall)
                processors.append(one.processor / other.processor)
                print(f"{1 / one.wall:.1f} and {1 / other.wall:.1f} tokens/s", flush=True)
    print(f"{statistics.median(walls):.2f}x on the wall")
    print(f"{statistics.median(processors):.2f}x in processor time")


if __name__ == "__main__":
    main()
