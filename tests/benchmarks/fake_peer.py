"""A peer without a model: every stream counts on from its prompt's last token."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from benchmarks.peers.peer import PeerSettings, Prompt, Recording, peak_resident_bytes


def load(settings: PeerSettings) -> FakePeer:
    if settings.model == "missing":
        raise FileNotFoundError("there is no model here")
    if settings.model == "dying":
        os.write(2, b"a crash in native code\n")
        os._exit(3)
    return FakePeer(settings)


class FakePeer:
    """`settings.model` says how it behaves: `steady`, `slow`, `restless`, `short` (a token too
    few), `missing` or `dying`. Its times are made up, since a busy machine makes all slow."""

    def __init__(self, settings: PeerSettings) -> None:
        self.details = f"computes in {settings.precision_hint}"
        self._behaviour = settings.model
        if self._behaviour == "restless":
            threading.Thread(target=_spin, daemon=True).start()

    def run(self, prompts: Sequence[Prompt], num_new_tokens: int) -> Recording:
        print("libraries print to standard output")
        recording = Recording(len(prompts))
        for step in range(num_new_tokens - (self._behaviour == "short")):
            elapsed_s = (step + 1) * (0.01 if self._behaviour == "slow" else 0.001)
            for stream, prompt in enumerate(prompts):
                recording.times_s[stream].append(elapsed_s)
                recording.token_ids[stream].append(prompt.token_ids[-1] + step)
        return recording

    def peak_memory_bytes(self) -> int:
        return peak_resident_bytes()

    def close(self) -> None:
        pass


def _spin() -> None:
    while True:
        pass
