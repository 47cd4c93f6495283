"""Responses of one request that several threads send go to Triton one at a time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from llmasos_runtime.triton.ending_sender import EndingSender


class OneAtATime:
    """Refuses to be called while it is."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self.num_sent = 0

    def send(self, response: object = None, flags: int = 0) -> None:
        assert self._busy.acquire(blocking=False), "two threads send together"
        time.sleep(0.001)
        self.num_sent += 1
        self._busy.release()

    def is_cancelled(self) -> bool:
        return False


def test_threads_take_turns() -> None:
    own = OneAtATime()
    sender = EndingSender(own)
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(sender.send, range(40)))
    sender.finish()
    assert own.num_sent == 41
