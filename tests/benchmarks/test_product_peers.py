from __future__ import annotations

import importlib
from pathlib import Path

from benchmarks.peers.peer import Peer, PeerSettings, Prompt, Recording

PROMPTS = [
    Prompt(text="Hello there", token_ids=tuple(range(40, 51))),
    Prompt(text="Good morning", token_ids=tuple(range(60, 72))),
]


def run(module: str, model: Path) -> Recording:
    settings = PeerSettings(
        model=str(model),
        num_threads=1,
        max_streams=2,
        max_num_tokens=256,
        max_seq_len=64,
        precision_hint="f32",
        kv_cache_precision="f32",
    )
    peer: Peer = importlib.import_module(module).load(settings)
    try:
        recording = peer.run(PROMPTS, 16)
        assert peer.peak_memory_bytes() > 0
    finally:
        peer.close()
    return recording


def check_every_token_has_a_time_of_its_own(recording: Recording) -> None:
    for times in recording.times_s:
        assert len(times) == 16
        assert times == sorted(times)
        assert len(set(times)) == 16


def check_tokens_arrive_while_others_are_computed(recording: Recording) -> None:
    """A server may gather tokens where its engine is ahead of it, but not the whole answer."""
    for times in recording.times_s:
        assert len(times) == 16
        assert times == sorted(times)
        assert len(set(times)) > 1


def test_in_process_every_token_leaves_in_its_step(tiny_plan: Path) -> None:
    recording = run("benchmarks.peers.llmasos_engine", tiny_plan)
    check_every_token_has_a_time_of_its_own(recording)
    assert [len(token_ids) for token_ids in recording.token_ids] == [16, 16]


def test_through_triton_tokens_leave_before_the_answer_is_whole(tiny_repository: Path) -> None:
    recording = run("benchmarks.peers.llmasos_triton", tiny_repository)
    check_tokens_arrive_while_others_are_computed(recording)
