from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.catalogue import PRODUCT, ModelForm, PeerSpec
from benchmarks.comparison import Comparison, Preparation
from benchmarks.environments import MissingPeerError
from benchmarks.peers.peer import PeerSettings, Prompt
from benchmarks.results import Conditions, PeerResult

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
    comparison = Comparison(conditions(), PROMPTS, report=lambda _line: None, settle_s=0.01)
    return {result.name: result for result in comparison.run(specs, prepare)}


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
    assert level.ratio.high < 1
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


@pytest.mark.parametrize(("behaviour", "sleeps"), [("steady", True), ("restless", False)])
def test_a_peer_is_seen_to_sleep_or_not_while_others_run(
    tmp_path: Path, behaviour: str, sleeps: bool
) -> None:
    results = compare(tmp_path, {"one": behaviour, "other": "slow"})
    share = results["one"].idle_cpu_share
    assert share is not None
    assert (share < 0.2) is sleeps
