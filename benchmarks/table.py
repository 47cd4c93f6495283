"""The results as two tables, for a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.metrics import Spread
from benchmarks.results import Conditions, Level, PeerResult, Results

BUSY_WHILE_IDLE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Texts alone, so that both forms show the same. The first column is to the left."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_rich(self) -> RichTable:
        table = RichTable(title=self.title, title_justify="left")
        for at, name in enumerate(self.header):
            table.add_column(name, justify="left" if at == 0 else "right")
        for row in self.rows:
            table.add_row(*row)
        return table

    def to_markdown(self) -> str:
        alignment = ["---"] + ["---:"] * (len(self.header) - 1)
        lines = [self.header, tuple(alignment), *self.rows]
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"{self.title}\n\n{body}\n"


def throughput_table(results: Results) -> Table:
    """Output tokens per second: median (range), and the ratio to the product."""
    streams = results.conditions.streams
    rows = [
        (f"{peer.label} ({peer.weights})", *_each(peer, streams, _speed_and_ratio))
        for peer in results.peers
        if peer.levels is not None
    ]
    header = [text for count in streams for text in (_streams(count), "ratio")]
    return Table(
        title="Output tokens/s, end to end: median (range), and how many times LLMasOS in process",
        header=("", *header),
        rows=tuple(rows),
    )


def latency_table(results: Results) -> Table:
    """Latencies for each number of streams, and what each peer takes to load and to hold."""
    streams = results.conditions.streams
    rows = [
        (peer.label, *_each(peer, streams, _ttft_and_itl), _load(peer), _memory(peer))
        for peer in results.peers
        if peer.levels is not None
    ]
    header = [f"{name}, {_streams(count)}" for count in streams for name in ("TTFT", "ITL")]
    return Table(
        title="TTFT and ITL in ms, p50/p95; seconds to load; peak memory in MB",
        header=("", *header, "load", "memory"),
        rows=tuple(rows),
    )


def notes(results: Results) -> list[str]:
    """What the tables cannot say: the conditions, clients, idle peers, missing peers."""
    lines = [results.machine.summary() + ".", _conditions(results.conditions)]
    if results.build_s is not None:
        lines.append(f"LLMasOS compiled the checkpoint in {results.build_s:.1f} s.")
    if results.machine.load_before > 0.1:
        lines.append(
            f"The machine was not quiet: {results.machine.load_before:.1f} cores were busy before."
        )
    for peer in results.peers:
        lines += _peer_notes(peer)
    return lines


def to_markdown(results: Results) -> str:
    """Both tables and the notes."""
    tables = (throughput_table(results), latency_table(results))
    listed = "\n".join(f"- {line}" for line in notes(results))
    return "\n".join(table.to_markdown() for table in tables) + f"\n{listed}\n"


def print_tables(results: Results, console: Console) -> None:
    for table in (throughput_table(results), latency_table(results)):
        console.print(table.to_rich())
    for line in notes(results):
        console.print(f"- {line}", highlight=False, soft_wrap=True)


def _each(
    peer: PeerResult, streams: Sequence[int], cells: Callable[[Level], tuple[str, str]]
) -> list[str]:
    assert peer.levels is not None, "only peers that ran have levels"
    return [text for count in streams for text in cells(peer.levels[count])]


def _speed_and_ratio(level: Level) -> tuple[str, str]:
    speed = _with_range(level.tokens_per_s, lambda value: f"{value:.0f}")
    if level.ratio is None:
        return speed, ""
    ratio = _with_range(level.ratio, lambda value: f"{value:.2f}", unit="x")
    return speed, f"{ratio} level" if level.ratio.holds_one else ratio


def _with_range(spread: Spread, text: Callable[[float], str], *, unit: str = "") -> str:
    """The median, and the range where it says more."""
    low, high = text(spread.low), text(spread.high)
    return f"{text(spread.median)}{unit}" + (f" ({low}-{high})" if low != high else "")


def _ttft_and_itl(level: Level) -> tuple[str, str]:
    first, gap = level.ttft_s, level.itl_s
    ttft = f"{first.p50 * 1e3:.0f}/{first.p95 * 1e3:.0f}"
    return ttft, f"{gap.p50 * 1e3:.1f}/{gap.p95 * 1e3:.1f}"


def _load(peer: PeerResult) -> str:
    return "" if peer.load_s is None else f"{peer.load_s:.1f}"


def _memory(peer: PeerResult) -> str:
    return "" if peer.peak_memory_bytes is None else f"{peer.peak_memory_bytes / 1e6:.0f}"


def _streams(count: int) -> str:
    return "1 stream" if count == 1 else f"{count} streams"


def _conditions(conditions: Conditions) -> str:
    return (
        f"{conditions.checkpoint}, {conditions.prompt_tokens}-token prompts, "
        f"{conditions.new_tokens} new tokens, greedy, end tokens ignored, "
        f"{conditions.num_threads} threads, computing in {conditions.precision_hint}, "
        f"KV cache in {conditions.kv_cache_precision}, prefix caches off, "
        f"median of {conditions.rounds} interleaved rounds."
    )


def _peer_notes(peer: PeerResult) -> Sequence[str]:
    if peer.levels is None:
        return [f"{peer.label} is missing: {peer.reason}"]
    lines: list[str] = []
    versions = ", ".join(f"{name} {number}" for name, number in (peer.versions or {}).items())
    lines.append(f"{peer.label}: {peer.details}; {versions}")
    if peer.is_client:
        shares = ", ".join(f"{level.cpu_share:.2f}" for level in peer.levels.values())
        lines.append(f"{peer.label}: its client process took {shares} of one core.")
    if peer.idle_cpu_share is not None and peer.idle_cpu_share > BUSY_WHILE_IDLE:
        lines.append(
            f"{peer.label} took {peer.idle_cpu_share:.2f} of one core while others ran: "
            "their numbers are too low."
        )
    return lines
