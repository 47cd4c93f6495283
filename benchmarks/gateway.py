"""What the gateway costs against gRPC, and how many streams it carries.

    python -m benchmarks.gateway smollm2-135m-instruct

Rounds of both take turns, since a machine changes its speed. The clients run on the same machine,
in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

from llmasos.contract import PLAN_IN_REPOSITORY
from llmasos.triton.async_triton_client import AsyncTritonClient
from llmasos_app.cache.engine_cache import find_repository
from llmasos_serving.gateway.process import GatewayOptions, GatewayProcess, NamedPlan
from llmasos_serving.triton.options import ServerOptions
from llmasos_serving.triton.server import TritonServer

_PROMPT_WORDS = 70
_WORDS = ("river", "house", "seven", "blue", "walks", "under", "stone", "light", "over", "a")


@dataclass(frozen=True)
class Round:
    """first_s: until the first text of each stream. num_whole: of streams that ended well."""

    num_tokens: int
    seconds: float
    first_s: list[float]
    num_whole: int

    @property
    def tokens_per_s(self) -> float:
        return self.num_tokens / self.seconds

    def p95(self) -> float:
        """Of the time to the first token."""
        return sorted(self.first_s)[int(0.95 * (len(self.first_s) - 1))]


def prompt(number: int) -> str:
    """A prompt of about 80 tokens that begins unlike the others."""
    words = (
        _WORDS[(number * 7 + i * (number % 5 + 1)) % len(_WORDS)] for i in range(_PROMPT_WORDS)
    )
    return f"{number}: {' '.join(words)}"


async def over_grpc(url: str, numbers: range, max_tokens: int) -> Round:
    """One round of streams of AsyncTritonClient."""
    client = AsyncTritonClient(url)
    first: list[float] = []
    began = time.perf_counter()

    async def one(number: int) -> int:
        tokens = 0
        begun = False
        async for piece in client.stream(prompt(number), max_tokens=max_tokens, ignore_eos=True):
            if piece.text and not begun:
                begun = True
                first.append(time.perf_counter() - began)
            if piece.usage is not None:
                tokens = piece.usage.num_output_tokens
        return tokens

    tokens = await asyncio.gather(*(one(number) for number in numbers))
    seconds = time.perf_counter() - began
    await client.aclose()
    return Round(sum(tokens), seconds, first, sum(n == max_tokens for n in tokens))


async def over_gateway(port: int, model: str, numbers: range, max_tokens: int) -> Round:
    """The same over /v1/completions."""
    first: list[float] = []
    began = time.perf_counter()

    async def one(number: int) -> int:
        body = {"model": model, "prompt": prompt(number), "max_tokens": max_tokens}
        asked = {**body, "ignore_eos": True, "stream": True}
        asked["stream_options"] = {"include_usage": True}
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        content = json.dumps(asked).encode()
        head = (
            "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        tokens, begun, last = 0, False, b""
        async for line in reader:
            if line.startswith(b"data: "):
                if not begun:
                    begun = True
                    first.append(time.perf_counter() - began)
                if b'"usage":{' in line:
                    tokens = json.loads(line[6:])["usage"]["completion_tokens"]
                last = line
        writer.close()
        return tokens if last.startswith(b"data: [DONE]") else 0

    tokens = await asyncio.gather(*(one(number) for number in numbers))
    seconds = time.perf_counter() - began
    return Round(sum(tokens), seconds, first, sum(n == max_tokens for n in tokens))


async def measure(grpc_url: str, port: int, model: str, rounds: int) -> dict[str, Any]:
    """All figures; the numbers of prompts never come twice, so that no prefix is cached."""
    number = 0

    async def at_gateway(streams: int, max_tokens: int) -> Round:
        nonlocal number
        number += streams
        return await over_gateway(port, model, range(number - streams, number), max_tokens)

    async def at_grpc(streams: int, max_tokens: int) -> Round:
        nonlocal number
        number += streams
        return await over_grpc(grpc_url, range(number - streams, number), max_tokens)

    await at_gateway(8, 16)
    await at_grpc(8, 16)
    pairs = [(await at_grpc(8, 128), await at_gateway(8, 128)) for _ in range(rounds)]
    alone = [await at_gateway(1, 8) for _ in range(20)]
    many = [await at_gateway(8, 8) for _ in range(5)]
    crowd = await at_gateway(500, 16)
    one_s = statistics.median(one.first_s[0] for one in alone)
    eight_s = Round(0, 1, [t for r in many for t in r.first_s], 0).p95()
    return {
        "grpc_tokens_per_s": statistics.median(direct.tokens_per_s for direct, _ in pairs),
        "gateway_tokens_per_s": statistics.median(door.tokens_per_s for _, door in pairs),
        "ratio": statistics.median(d.tokens_per_s / g.tokens_per_s for g, d in pairs),
        "ttft_of_one_s": one_s,
        "ttft_p95_of_8_s": eight_s,
        "ttft_ratio": eight_s / one_s,
        "whole_of_500": crowd.num_whole,
        "seconds_of_500": crowd.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="smollm2-135m-instruct")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    repository = find_repository(asked.model, precision="int8", revision=None)
    plan = repository / PLAN_IN_REPOSITORY
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0)
    with (
        TritonServer(repository, options) as server,
        GatewayProcess(
            GatewayOptions(port=0),
            models=[NamedPlan(plan=plan)],
            grpc_url=server.grpc_url,
            metrics_url=server.metrics_url,
        ) as door,
    ):
        name = json.loads((plan / "plan.json").read_text())["name"]
        found = asyncio.run(measure(server.grpc_url, door.port, name, asked.rounds))
    json.dump({name: round(value, 4) for name, value in found.items()}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
