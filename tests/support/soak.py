"""A long load with rude clients: nothing may hang, leak, or change another client's tokens.

    PYTHONPATH=tests/support python -m soak MODEL --seconds 300 --clients 500

Clients stream answers through the gateway, and half of them hang up in the middle. One asks for
the same greedy answer all the time. Then each process is killed, and stopped, in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import psutil
from raw_client import gauge
from served import WORDS, Served

_STEADY: dict[str, Any] = {"prompt": "Once upon a time", "max_tokens": 48, "priority": 50}
_WORDS = ("a", "river", "house", "seven", "blue", "walks", "under", "over", "stone", "light")
_HANGS_AFTER_S = 300.0
"""After the load has ended: by then every queue is empty."""
_BACK_WITHIN_S = 60.0


@dataclass
class Tally:
    """What became of requests. wrong: answers of the steady client that were not its own."""

    ends: Counter[str] = field(default_factory=Counter[str])
    wrong: int = 0
    steady: int = 0
    first_s: list[float] = field(default_factory=list[float])


async def stream(served: Served, body: dict[str, Any], *, leave_after: int | None) -> str:
    """One streamed request; how it ended. leave_after: events to read before hanging up."""
    address = urlsplit(served.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        content = json.dumps({"model": served.model, "stream": True, **body}).encode()
        head = (
            "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        await writer.drain()
        status = (await reader.readline()).split(b" ")[1:2]
        if status != [b"200"]:
            return f"status {status[0].decode() if status else 'none'}"
        return await _read_events(reader, leave_after)
    finally:
        writer.close()


async def _read_events(reader: asyncio.StreamReader, leave_after: int | None) -> str:
    num_events, reason = 0, ""
    async for line in reader:
        if not line.startswith(b"data: "):
            continue
        if line.startswith(b"data: [DONE]"):
            return reason or "no finish_reason"
        event = json.loads(line[6:])
        if "error" in event:
            reason = f"error {event['error']['code']}"
        elif event["choices"][0]["finish_reason"]:
            reason = "whole"
        num_events += 1
        if leave_after is not None and num_events >= leave_after:
            return "left"
    return "no [DONE]"


async def rude_client(served: Served, tally: Tally, ends_at: float, seed: int) -> None:
    """Asks again and again; every second time it hangs up after some events."""
    chance = random.Random(seed)
    while time.monotonic() < ends_at:
        body = {
            "prompt": " ".join(chance.choices(_WORDS, k=chance.randrange(1, 40))),
            "max_tokens": chance.randrange(1, 64),
            "temperature": chance.choice([0, 1]),
            "seed": chance.randrange(1000),
            "ignore_eos": True,
        }
        leave = chance.randrange(1, 10) if chance.random() < 0.5 else None
        try:
            longest_s = ends_at + _HANGS_AFTER_S - time.monotonic()
            end = await asyncio.wait_for(stream(served, body, leave_after=leave), longest_s)
        except asyncio.TimeoutError:
            end = "hangs"
        except OSError as error:
            end = type(error).__name__
        tally.ends[end] += 1
        await asyncio.sleep(chance.random() * 0.2)


async def steady_client(served: Served, tally: Tally, ends_at: float, expected: str) -> None:
    """Asks for one greedy answer all the time, and compares its text."""
    while time.monotonic() < ends_at:
        got = await asyncio.to_thread(served.answer, **_STEADY)
        tally.steady += got is not None
        tally.wrong += got is not None and got != expected


async def load(served: Served, tally: Tally, *, seconds: float, clients: int) -> dict[str, Any]:
    """Returns the memory of the processes after a warm-up and at the end."""
    expected = await asyncio.to_thread(served.answer, **_STEADY)
    assert expected is not None
    ends_at = time.monotonic() + seconds
    working = [
        asyncio.create_task(rude_client(served, tally, ends_at, seed)) for seed in range(clients)
    ]
    working.append(asyncio.create_task(steady_client(served, tally, ends_at, expected)))
    await asyncio.sleep(seconds * 0.4)
    warm = memory(served)
    await asyncio.gather(*working)
    return {"warm": warm, "end": memory(served)}


def memory(served: Served) -> dict[str, int]:
    """Resident bytes of each process."""
    return {name: int(one.memory_info().rss) for name, one in served.all().items()}


def idle(served: Served) -> dict[str, float]:
    """What is left in the engine when nobody asks; waits for canceled requests to end."""
    ends_at = time.monotonic() + 30
    while True:
        url = f"{served.url}/metrics"
        left = {
            "requests": gauge(url, "nv_trt_llm_request_metrics", request_type="active"),
            "blocks": gauge(url, "nv_trt_llm_kv_cache_block_metrics", kv_cache_block_type="used"),
        }
        if not any(left.values()) or time.monotonic() > ends_at:
            return left
        time.sleep(0.3)


def hurt(served: Served, name: str, number: signal.Signals, expected: str) -> dict[str, Any]:
    """Send a signal to a process; how long until it was found, and until the answer is back."""
    began = time.monotonic()
    served.one(name).send_signal(number)
    found = ready = None
    while time.monotonic() - began < _BACK_WITHIN_S:
        found = found or served.said("error: ", began)
        ready = ready or (found and served.said("ready", found))
        if ready and served.answer(**_STEADY) == expected:
            break
        time.sleep(0.05)
    back = time.monotonic() - began
    return {
        "process": name,
        "signal": number.name,
        "found_s": None if found is None else round(found - began, 2),
        "ready_s": None if ready is None else round(ready - began, 2),
        "back_s": round(back, 2) if back < _BACK_WITHIN_S else None,
    }


def soak(
    model: str, *, seconds: float, clients: int, signals: bool, options: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Runs all of it; returns what was seen."""
    served = Served(model, "--max-restarts", "100", *options)
    started: list[psutil.Process] = []
    try:
        tally = Tally()
        expected = served.answer(**_STEADY)
        assert expected is not None
        used = asyncio.run(load(served, tally, seconds=seconds, clients=clients))
        report: dict[str, Any] = {
            "ends": dict(tally.ends),
            "steady": tally.steady,
            "wrong": tally.wrong,
            "left": idle(served),
            "memory": used,
            "restarts_under_load": served.text.count("starting again"),
        }
        if signals:
            report["hurt"] = [
                hurt(served, name, number, expected)
                for number in (signal.SIGKILL, signal.SIGSTOP)
                for name in WORDS
            ]
        started = served.tree()
        began = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        report["status"] = served.process.wait(60)
        report["stop_s"] = round(time.monotonic() - began, 2)
        _, alive = psutil.wait_procs(started, timeout=10)
        report["processes_left"] = len(alive)
        return report
    finally:
        served.close()


def faults(report: dict[str, Any], *, growth: float | None) -> list[str]:
    """What is wrong in a report. growth: most that a process may grow after the warm-up."""
    fine = {"whole", "left", "status 429"}
    found = [
        f"{n} requests ended with {end}" for end, n in report["ends"].items() if end not in fine
    ]
    if report["wrong"] or not report["steady"]:
        found.append(f"{report['wrong']} of {report['steady']} steady answers were not its own")
    found += [f"{n:g} {what} are left" for what, n in report["left"].items() if n]
    warm, end = report["memory"]["warm"], report["memory"]["end"]
    if growth is not None:
        found += [
            f"{name} grew from {warm[name] >> 20} to {end[name] >> 20} MiB"
            for name in warm
            if end[name] > warm[name] * (1 + growth) + (4 << 20)
        ]
    for one in report.get("hurt", []):
        if one["found_s"] is None or one["found_s"] > 5 or one["back_s"] is None:
            found.append(f"{one['process']} after {one['signal']}: {one}")
    for what in ("status", "processes_left", "restarts_under_load"):
        if report[what]:
            found.append(f"{what}: {report[what]}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="smollm2-135m-instruct")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--kv-cache-bytes", default="150MB", help="small: full after a moment")
    parser.add_argument("--no-signals", action="store_true", help="kill and stop no process")
    options = parser.parse_args()
    report = soak(
        options.model,
        seconds=options.seconds,
        clients=options.clients,
        signals=not options.no_signals,
        options=("--kv-cache-bytes", options.kv_cache_bytes),
    )
    json.dump(report, sys.stdout, indent=1)
    found = faults(report, growth=0.05)
    sys.stdout.write("".join(f"\nFAULT: {one}" for one in found) or "\nno faults")
    sys.stdout.write("\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
