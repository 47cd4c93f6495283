from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from patience import wait_until

from benchmarks import comparison
from benchmarks.catalogue import PRODUCT, ModelForm, PeerSpec
from benchmarks.comparison import Comparison, Preparation
from benchmarks.environments import MissingPeerError
from benchmarks.peers.peer import PeerSettings, Prompt
from benchmarks.results import Conditions, PeerResult
from benchmarks.worker import Worker

SETTINGS = PeerSettings(
    model="steady",
    num_threads=1,
    max_streams=2,
    max_num_tokens=64,
    max_seq_len=16,
    precision_hint="f32",
    kv_cache_precision="f32",
)
PROMPTS = [Prompt(text="a", token_ids=(1, 2, 3)), Prompt(text="b", token_ids=(4, 5, 6))]


@pytest.fixture(autouse=True)
def fake_peer_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def conditions(*, rounds: int = 2, streams: tuple[int, ...] = (1, 2)) -> Conditions:
    return Conditions(
        checkpoint="fake",
        precision="f32",
        kv_cache_precision="f32",
        precision_hint="f32",
        max_num_tokens=64,
        num_threads=1,
        streams=streams,
        prompt_tokens=3,
        new_tokens=4,
        rounds=rounds,
    )


def spec(name: str) -> PeerSpec:
    return PeerSpec(
        name=name,
        label=name,
        weights="none",
        module="fake_peer",
        model=ModelForm.PLAN,
        packages=("pytest",),
    )


def compare(tmp_path: Path, behaviours: dict[str, str]) -> dict[str, PeerResult]:
    """Results by peer name. behaviours: what each fake peer does, or `uninstallable`."""

    def prepare(peer: PeerSpec) -> Preparation:
        behaviour = behaviours[peer.name]
        if behaviour == "uninstallable":
            raise MissingPeerError("ERROR: no matching distribution found")
        return Preparation(
            python=Path(sys.executable),
            settings=replace(SETTINGS, model=behaviour),
            log=tmp_path / f"{peer.name}.log",
        )

    specs = [spec(name) for name in behaviours]
    started = Comparison(conditions(), PROMPTS, report=lambda _line: None, settle_s=0.01)
    return {result.name: result for result in started.run(specs, prepare)}


def test_every_peer_runs_every_round_at_every_number_of_streams(tmp_path: Path) -> None:
    results = compare(tmp_path, {PRODUCT: "steady", "other": "slow"})
    for result in results.values():
        assert result.reason is None
        assert result.levels is not None
        assert set(result.levels) == {1, 2}
        assert all(len(level.rounds_tokens_per_s) == 2 for level in result.levels.values())
        assert result.peak_memory_bytes is not None
        assert result.details == "computes in f32"
        assert result.versions == {"pytest": pytest.__version__}


def test_a_slower_peer_has_a_ratio_under_one_and_the_same_tokens(tmp_path: Path) -> None:
    results = compare(tmp_path, {PRODUCT: "steady", "other": "slow"})
    assert results["other"].levels is not None
    level = results["other"].levels[2]
    assert level.ratio is not None
    assert (level.ratio.low, level.ratio.high) == pytest.approx((0.1, 0.1))
    assert level.same_tokens == 1.0


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("uninstallable", "no matching distribution found"),
        ("missing", "FileNotFoundError: there is no model here"),
        ("dying", "ended with status 3: a crash in native code"),
        ("short", "gave [3] tokens a stream, not 4"),
    ],
)
def test_a_peer_that_fails_is_missing_with_the_reason_and_the_others_go_on(
    tmp_path: Path, behaviour: str, reason: str
) -> None:
    results = compare(tmp_path, {"broken": behaviour, PRODUCT: "steady"})
    assert results["broken"].levels is None
    assert reason in str(results["broken"].reason)
    assert results[PRODUCT].levels is not None


def test_without_the_product_there_are_no_ratios(tmp_path: Path) -> None:
    levels = compare(tmp_path, {"other": "steady"})["other"].levels
    assert levels is not None
    assert all(level.ratio is None for level in levels.values())


@contextmanager
def loaded(tmp_path: Path, behaviour: str) -> Iterator[Worker]:
    worker = Worker(Path(sys.executable), "fake_peer", log=tmp_path / "log", variables={})
    try:
        worker.load(replace(SETTINGS, model=behaviour), packages=())
        yield worker
    finally:
        worker.close()


def test_a_peer_is_seen_to_work_or_to_sleep(tmp_path: Path) -> None:
    with loaded(tmp_path, "restless") as worker:
        before = worker.cpu_time_s()
        wait_until(lambda: worker.cpu_time_s() > before + 0.1)
    with loaded(tmp_path, "steady") as worker:
        before = worker.cpu_time_s()
        time.sleep(0.2)
        assert worker.cpu_time_s() < before + 0.1


def test_what_a_peer_works_while_others_run_is_a_share_of_their_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at a worker finds 1 s of work more, and each look at the clock 4 s."""
    looks, seconds = itertools.count(), itertools.count(0, 4)
    clock = SimpleNamespace(perf_counter=lambda: next(seconds), sleep=lambda settle_s: None)
    monkeypatch.setattr(Worker, "cpu_time_s", lambda worker: next(looks))
    monkeypatch.setattr(comparison, "time", clock)
    results = compare(tmp_path, {"one": "steady", "other": "steady"})
    assert [result.idle_cpu_share for result in results.values()] == [0.25, 0.25]
