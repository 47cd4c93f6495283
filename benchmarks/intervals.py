"""`python -m benchmarks.intervals`: what responses of a stream cost, and what fewer of them save.

The same prompts are continued in process and through Triton servers that differ in their
`--stream-interval` alone, one right after the other in each round; the last row asks the
first server for whole answers. A ratio is to the tokens a second in process, in that round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from llmasos import SamplingParams, TritonClient
from llmasos.contract import PLAN_IN_REPOSITORY
from llmasos.text.tokenizer import Tokenizer
from llmasos_app.cache.engine_cache import find_repository
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.load import load_engine
from llmasos_serving.triton.launcher import ServerOptions, TritonServer

from benchmarks.divergence import continuations
from benchmarks.peers.peer import KV_CACHE_GIB, Prompt
from benchmarks.prompts import make_prompts

Run = Callable[[Sequence[Prompt]], object]
IN_PROCESS = "in process"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--intervals", default="1,2,4,8", help="with commas between them")
    parser.add_argument("--streams", default="8,32", help="prompts at once")
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    intervals = [int(text) for text in options.intervals.split(",")]
    streams = [int(text) for text in options.streams.split(",")]
    repository = find_repository(options.model, precision="int8")
    tokenizer = Tokenizer.load(repository / PLAN_IN_REPOSITORY)
    prompts = make_prompts(tokenizer, count=max(streams), num_tokens=80)
    with started(repository, intervals, options.new_tokens, max(streams)) as runs:
        print("| streams | how | tokens/s | of in process | range |\n|---|---|---:|---:|---:|")
        for run in runs.values():
            run(prompts[:2])  # a first answer is slower
        for count in streams:
            rounds = [one_round(runs, prompts[:count]) for _ in range(options.rounds)]
            for name in runs:
                print(f"| {count} | {name} | {row(name, rounds, count * options.new_tokens)} |")


@contextmanager
def started(
    repository: Path, intervals: Sequence[int], num_tokens: int, max_streams: int
) -> Iterator[dict[str, Run]]:
    """What continues prompts, by how it does."""
    with ExitStack() as running:
        options = EngineOptions(kv_cache_bytes=KV_CACHE_GIB * 2**30, reuse_prefixes=False)
        engine = load_engine(repository / PLAN_IN_REPOSITORY, options)
        running.enter_context(closing(engine))
        runs = {IN_PROCESS: in_process(engine, num_tokens)}
        pool = running.enter_context(ThreadPoolExecutor(max_streams))
        clients = {n: running.enter_context(served(repository, n)) for n in intervals}
        for interval, client in clients.items():
            runs[f"interval {interval}"] = streaming(client, pool, num_tokens)
        runs["whole answers"] = whole(clients[intervals[0]], num_tokens)
        yield runs


@contextmanager
def served(repository: Path, interval: int) -> Iterator[TritonClient]:
    server = TritonServer(
        repository,
        ServerOptions(
            grpc_port=0,
            http_port=0,
            metrics_port=0,
            kv_cache_bytes=KV_CACHE_GIB * 2**30,
            enable_kv_cache_reuse=False,
            stream_interval=interval,
        ),
    )
    server.start()
    try:
        with TritonClient(server.grpc_url) as client:
            yield client
    finally:
        server.stop()


def in_process(engine: Engine, num_tokens: int) -> Run:
    return lambda prompts: continuations(engine, [p.token_ids for p in prompts], num_tokens)


def streaming(client: TritonClient, pool: ThreadPoolExecutor, num_tokens: int) -> Run:
    params = params_for(num_tokens)

    def read(prompt: Prompt) -> None:
        for _ in client.stream(prompt.text, params):
            pass

    return lambda prompts: list(pool.map(read, prompts))


def whole(client: TritonClient, num_tokens: int) -> Run:
    return lambda prompts: client.generate([p.text for p in prompts], params_for(num_tokens))


def params_for(num_tokens: int) -> SamplingParams:
    return SamplingParams(max_tokens=num_tokens, ignore_eos=True, speculate=False)


def one_round(runs: Mapping[str, Run], prompts: Sequence[Prompt]) -> dict[str, float]:
    """Seconds that each took."""
    times = {}
    for name, run in runs.items():
        began = time.perf_counter()
        run(prompts)
        times[name] = time.perf_counter() - began
    return times


def row(name: str, rounds: Sequence[Mapping[str, float]], num_tokens: int) -> str:
    """Tokens a second, and the ratios to those in process: the median, the least, the most."""
    speed = statistics.median(num_tokens / times[name] for times in rounds)
    ratios = [times[IN_PROCESS] / times[name] for times in rounds]
    spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
    return f"{speed:.0f} | {statistics.median(ratios):.2f} | {spread}"


if __name__ == "__main__":
    main()
