"""`python -m benchmarks.speculation`: what guessing repeated tokens is worth, at one stream.

Each prompt is answered with and without guesses, one right after the other, in one engine.
The tokens a second with them over those without is the figure, for each kind of prompt: the
median of the rounds, and the least and the most. The rounds take turns in what comes first.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmasos.errors import LLMasOSError
from llmasos.sampling import SamplingParams
from llmasos_app.cache.engine_cache import find_plan
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.load import load_engine
from llmasos_runtime.sequences.request import Request, Update

from benchmarks.speculation_prompts import OTHERS, REPEATING

HEADER = ("prompts", "guessing / not", "range", "tokens/s without", "drafts right")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Prompts, and how they are answered. temperature: 0 is greedy."""

    name: str
    prompts: Sequence[str]
    temperature: float
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast answers came. num_drafts, num_right: guesses made, and those that were right."""

    num_tokens: int = 0
    time_s: float = 0.0
    num_drafts: int = 0
    num_right: int = 0

    def __add__(self, other: Pace) -> Pace:
        return Pace(
            num_tokens=self.num_tokens + other.num_tokens,
            time_s=self.time_s + other.time_s,
            num_drafts=self.num_drafts + other.num_drafts,
            num_right=self.num_right + other.num_right,
        )

    @property
    def tokens_per_s(self) -> float:
        return self.num_tokens / self.time_s


Ask = Callable[[str, SamplingParams], Pace]
KINDS = (
    Kind(name="repeat their text", prompts=REPEATING, temperature=0.0, max_tokens=256),
    Kind(name="repeat their text, sampled", prompts=REPEATING, temperature=0.5, max_tokens=256),
    Kind(name="others", prompts=OTHERS, temperature=0.0, max_tokens=96),
    Kind(name="others, sampled", prompts=OTHERS, temperature=0.8, max_tokens=96),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    engine = load_engine(
        find_plan(options.model, precision="int8"), EngineOptions(reuse_prefixes=False)
    )
    try:
        ask = asker(engine)
        ask(OTHERS[0], SamplingParams(max_tokens=32))  # a first answer is slower
        print("| " + " | ".join(HEADER) + " |\n" + "|---" * len(HEADER) + "|")
        for kind in KINDS:
            rounds = [one_round(ask, kind, number) for number in range(options.rounds)]
            print("| " + " | ".join(row(kind, rounds)) + " |", flush=True)
    finally:
        engine.close()


def one_round(ask: Ask, kind: Kind, number: int) -> tuple[Pace, Pace]:
    """The pace of all answers without guesses, and with them."""
    paces = {False: Pace(), True: Pace()}
    for index, prompt in enumerate(kind.prompts):
        for speculate in sorted(paces, reverse=(number + index) % 2 == 1):
            params = SamplingParams(
                max_tokens=kind.max_tokens,
                temperature=kind.temperature,
                seed=1000 * number + index,
                speculate=speculate,
            )
            paces[speculate] += ask(prompt, params)
    return paces[False], paces[True]


def row(kind: Kind, rounds: Sequence[tuple[Pace, Pace]]) -> tuple[str, ...]:
    ratios = [guessing.tokens_per_s / plain.tokens_per_s for plain, guessing in rounds]
    plain = statistics.median(plain.tokens_per_s for plain, _ in rounds)
    whole = sum((guessing for _, guessing in rounds), Pace())
    return (
        kind.name,
        f"{statistics.median(ratios):.2f}",
        f"{min(ratios):.2f}-{max(ratios):.2f}",
        f"{plain:.0f}",
        f"{whole.num_right} of {whole.num_drafts}",
    )


def asker(engine: Engine) -> Ask:
    """What answers one message and waits; the time includes the prompt's."""

    def ask(prompt: str, params: SamplingParams) -> Pace:
        messages = [{"role": "user", "content": prompt}]
        token_ids = tuple(engine.tokenizer.encode_chat(messages))
        done = threading.Event()
        last: list[Update] = []

        def sink(update: Update) -> None:
            if update.is_final:
                last.append(update)
                done.set()

        began = time.perf_counter()
        engine.submit(Request(request_id="0", prompt_token_ids=token_ids, params=params), sink)
        done.wait()
        return pace_of(last[0], time.perf_counter() - began)

    return ask


def pace_of(update: Update, time_s: float) -> Pace:
    """Of a final update; raises its error."""
    if update.error is not None:
        raise update.error
    if update.usage is None:
        raise LLMasOSError("the answer has no usage")
    return Pace(
        num_tokens=update.usage.num_output_tokens,
        time_s=time_s,
        num_drafts=update.usage.num_draft_tokens,
        num_right=update.usage.num_accepted_tokens,
    )


if __name__ == "__main__":
    main()
