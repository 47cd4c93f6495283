from __future__ import annotations

import json
from pathlib import Path

from benchmarks.catalogue import PRODUCT
from benchmarks.machine import Machine
from benchmarks.results import Conditions, Level, PeerResult, Results
from benchmarks.table import latency_table, notes, throughput_table, to_markdown
from benchmarks.worker import Run


def run(gap_s: float) -> Run:
    """One stream of four tokens, the first after 0.1 s."""
    times = [0.1 + gap_s * step for step in range(4)]
    return Run(
        times_s=[times], token_ids=[[1, 2, 3, 4]], wall_s=1.0, cpu_s=0.25, peak_memory_bytes=10**8
    )


def peer(name: str, *, gaps_s: tuple[float, ...], product: tuple[float, ...] = ()) -> PeerResult:
    level = Level.of([run(gap) for gap in gaps_s], [run(gap) for gap in product])
    return PeerResult(
        name=name,
        label=name.title(),
        weights="int8",
        is_client=name == "client",
        details="computes in bf16",
        versions={"some-package": "1.2"},
        load_s=1.5,
        peak_memory_bytes=2 * 10**8,
        idle_cpu_share=0.5 if name == "restless" else 0.0,
        levels={1: level},
    )


def results(*peers: PeerResult) -> Results:
    return Results(
        date="2026-01-01T00:00:00+00:00",
        machine=Machine(
            cpu="a CPU",
            cores=2,
            cpu_flags=("avx2",),
            memory_bytes=8 * 2**30,
            system="Linux 6",
            python="3.11",
            load_before=0.0,
        ),
        conditions=Conditions(
            checkpoint="fake",
            precision="int8",
            kv_cache_precision="u8",
            precision_hint="bf16",
            max_num_tokens=64,
            num_threads=2,
            streams=(1,),
            prompt_tokens=80,
            new_tokens=4,
            rounds=2,
        ),
        build_s=2.0,
        peers=peers,
    )


FAST, SLOW = 0.3, 0.6  # gaps: 4 tokens in 1.0 s and in 1.9 s


def test_the_product_has_no_ratio_and_others_have_that_of_the_same_round() -> None:
    mine = peer(PRODUCT, gaps_s=(FAST, SLOW))
    other = peer("other", gaps_s=(SLOW, SLOW), product=(FAST, SLOW))
    first, second = throughput_table(results(mine, other)).rows
    assert first == ("Llmasos (int8)", "3 (2-4)", "")
    assert second == ("Other (int8)", "2", "0.76x (0.53-1.00) level")


def test_a_ratio_that_never_reaches_one_is_not_called_level() -> None:
    other = peer("other", gaps_s=(SLOW, SLOW), product=(FAST, FAST))
    assert throughput_table(results(other)).rows[0][2] == "0.53x"


def test_latencies_are_in_milliseconds() -> None:
    mine = peer(PRODUCT, gaps_s=(FAST,))
    row = ("Llmasos", "100/100", "300.0/300.0", "1.5", "200")
    assert latency_table(results(mine)).rows == (row,)


def test_a_missing_peer_is_a_note_with_its_reason_and_no_row() -> None:
    missing = PeerResult(
        name="gone", label="Gone", weights="int8", is_client=False, reason="no such package"
    )
    found = results(missing)
    assert throughput_table(found).rows == ()
    assert "Gone is missing: no such package" in notes(found)


def test_a_client_and_a_peer_that_does_not_sleep_are_told_of() -> None:
    lines = notes(
        results(
            peer("client", gaps_s=(FAST,), product=(FAST,)),
            peer("restless", gaps_s=(FAST,), product=(FAST,)),
        )
    )
    assert "Client: its client process took 0.25 of one core." in lines
    assert any(line.startswith("Restless took 0.50 of one core") for line in lines)


def test_markdown_has_both_tables_and_the_notes() -> None:
    text = to_markdown(results(peer(PRODUCT, gaps_s=(FAST,))))
    assert "| --- | ---: | ---: |\n" in text
    assert "| --- | ---: | ---: | ---: | ---: |\n" in text
    assert "- Llmasos: computes in bf16; some-package 1.2\n" in text
    assert "- 2 cores of a CPU (avx2), 8 GiB, Linux 6." in text


def test_results_are_written_as_json_that_can_be_read_back(tmp_path: Path) -> None:
    found = results(peer("other", gaps_s=(FAST,), product=(FAST,)))
    found.write(tmp_path / "results.json")
    read = json.loads((tmp_path / "results.json").read_text())
    assert read["peers"][0]["levels"]["1"]["ratio"]["median"] == 1.0
    assert read["conditions"]["new_tokens"] == 4
