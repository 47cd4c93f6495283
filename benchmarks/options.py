"""What a user can say on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmasos.engine.plan import Precision

from benchmarks.catalogue import PEERS, PeerSpec, choose_peers

BENCHMARKS = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """streams: numbers of prompts at once, ascending. output: a directory for the results."""

    peers: tuple[PeerSpec, ...]
    checkpoint: str
    precision: Precision
    rounds: int
    streams: tuple[int, ...]
    new_tokens: int
    prompt_tokens: int
    num_threads: int
    output: Path

    def __post_init__(self) -> None:
        for name in ("rounds", "prompt_tokens", "num_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.new_tokens < 2:
            raise ValueError(f"new_tokens must be at least 2, got {self.new_tokens}")
        if not self.streams or min(self.streams) < 1:
            raise ValueError(f"streams must be numbers of at least 1, got {self.streams}")

    @property
    def quick(self) -> Options:
        """One short round, to see that everything works; its numbers mean little."""
        return replace(self, rounds=1, streams=(1, 4), new_tokens=16)


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Exits with a usage message where an option is wrong."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        options = Options(
            peers=choose_peers(given.peers.split(",")),
            checkpoint=given.checkpoint,
            precision=given.precision,
            rounds=given.rounds,
            streams=tuple(sorted({int(count) for count in given.streams.split(",")})),
            new_tokens=given.new_tokens,
            prompt_tokens=given.prompt_tokens,
            num_threads=given.threads,
            output=given.output,
        )
    except ValueError as error:
        parser.error(str(error))
    return options.quick if given.quick else options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare LLMasOS with other ways to run the same model on this CPU.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    every = ",".join(peer.name for peer in PEERS)
    add = parser.add_argument
    add("--peers", default=every, help="names of peers, with commas between them")
    add("--checkpoint", default="smollm2-135m-instruct", help="a Llama checkpoint")
    add("--precision", default="int8", choices=("f32", "bf16", "int8"), help="of LLMasOS's plan")
    add("--rounds", type=int, default=5, help="how often every peer runs")
    add("--streams", default="1,8,32", help="prompts at once, with commas between the numbers")
    add("--new-tokens", type=int, default=128, help="output tokens of each stream")
    add("--prompt-tokens", type=int, default=80, help="tokens of each prompt")
    add("--threads", type=int, default=2, help="of every peer")
    add("--output", type=Path, default=BENCHMARKS / "work" / "results", help="directory to write")
    add("--quick", action="store_true", help="one round of 1 and 4 streams with 16 tokens")
    return parser
