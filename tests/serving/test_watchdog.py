"""A server that is busy is alive, and one that does nothing for its clients is dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import psutil
import pytest
from llmasos.errors import EngineStoppedError, LLMasOSError, QueueFullError, RequestTimeoutError
from llmasos_serving.triton import watchdog as watchdog_module
from llmasos_serving.triton.processes import ModelProcess
from llmasos_serving.triton.watchdog import Canary, Watchdog
from patience import PATIENCE_S, wait_until

IN_TIME = 20
"""Looks; four seconds of a real watchdog."""


@dataclass
class FakeProcess:
    """Computes as often as it is asked how long it did."""

    model: str = "engine"
    name: str = "the process of the model engine"
    busy_s: float = 0.0
    used_s: float = 0.0
    alive: bool = True
    stopped: bool = False
    reading: bool = False

    def is_alive(self) -> bool:
        return self.alive

    def is_stopped(self) -> bool:
        return self.stopped

    def is_reading(self) -> bool:
        return self.reading

    def cpu_s(self) -> float:
        self.used_s += self.busy_s
        return self.used_s


@dataclass
class FakeServer:
    """steps: what a step counter shows, one after the other, and the last for ever."""

    process: FakeProcess = field(default_factory=FakeProcess)
    is_waiting: bool = True
    error: LLMasOSError | None = None
    status: int | None = None
    steps: Iterator[float | None] = field(default_factory=lambda: iter(()))

    def watchdog(self) -> Watchdog:
        server = FakeProcess(model="", name="tritonserver", busy_s=1.0)
        return Watchdog(
            [server, self.process],
            cast("Canary", self),
            poll=lambda: self.status,
            num_steps=lambda: next(self.steps, 7.0),
        )

    def verdict(self, looks: int = IN_TIME) -> str | None:
        """What the first of so many looks says that says anything."""
        watchdog = self.watchdog()
        return next((reason for _ in range(looks) if (reason := watchdog.look())), None)


def test_a_server_that_answers_may_do_nothing() -> None:
    assert FakeServer(is_waiting=False).verdict() is None


def test_nothing_done_while_a_canary_waits_is_the_end_within_four_seconds() -> None:
    reason = "the server does not answer: it takes no steps and uses no processor"
    assert FakeServer().verdict() == reason


def test_a_long_step_and_a_long_tokenization_are_no_end() -> None:
    assert FakeServer(process=FakeProcess(busy_s=1.0)).verdict(100) is None
    assert FakeServer(process=FakeProcess(reading=True)).verdict(100) is None


def test_a_long_queue_is_no_end() -> None:
    assert FakeServer(steps=iter(range(1000))).verdict(100) is None


def test_a_canary_that_is_answered_at_last_begins_anew() -> None:
    server = FakeServer()
    watchdog = server.watchdog()
    for _ in range(5):
        server.is_waiting = True
        assert not any(watchdog.look() for _ in range(IN_TIME // 2))
        server.is_waiting = False
        assert watchdog.look() is None


def test_a_processor_that_is_used_without_an_end_is_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchdog_module, "_STEPLESS_SPELLS", 10)
    reason = "the server does not answer: it uses the processor and takes no steps"
    assert FakeServer(process=FakeProcess(busy_s=1.0)).verdict(100) == reason


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (FakeServer(status=134), "tritonserver ended with status 134"),
        (FakeServer(process=FakeProcess(alive=False)), "the process of the model engine died"),
        (FakeServer(error=EngineStoppedError("gone")), "the server does not answer: gone"),
    ],
)
def test_what_has_ended_is_said_at_once(server: FakeServer, reason: str) -> None:
    server.is_waiting = False
    assert server.verdict(looks=1) == reason


def test_a_stopped_process_is_given_three_seconds_to_go_on() -> None:
    server = FakeServer(is_waiting=False, process=FakeProcess(stopped=True))
    watchdog = server.watchdog()
    assert not any(watchdog.look() for _ in range(10))
    server.process.stopped = False
    assert watchdog.look() is None
    server.process.stopped = True
    assert not any(watchdog.look() for _ in range(14))
    assert watchdog.look() == "the process of the model engine was stopped by a signal"


def test_a_real_process_says_whether_it_is_stopped_and_what_it_computes() -> None:
    program = "import sys\nsys.stdin.readline()\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        try:
            watched = ModelProcess(model="engine", process=psutil.Process(process.pid))
            assert watched.is_alive() and not watched.is_stopped()
            os.kill(process.pid, signal.SIGSTOP)
            wait_until(watched.is_stopped)
            os.kill(process.pid, signal.SIGCONT)
            wait_until(lambda: not watched.is_stopped())
            assert process.stdin is not None
            process.stdin.close()
            before = watched.cpu_s()
            wait_until(lambda: watched.cpu_s() > before + 0.1)
        finally:
            process.kill()
    assert not watched.is_alive()
    assert (watched.cpu_s(), watched.is_stopped(), watched.is_reading()) == (0.0, False, False)


def asked(answers: list[Callable[[], object]]) -> Canary:
    """A canary that gets these answers; it is closed with the last."""
    canary: Canary
    is_over, is_made = threading.Event(), threading.Event()

    def ask() -> None:
        assert is_made.wait(PATIENCE_S)
        answer = answers.pop(0)
        if not answers:
            canary._closed.set()
            is_over.set()
        answer()

    canary = Canary(ask, period_s=0.01)
    is_made.set()
    assert is_over.wait(PATIENCE_S)
    canary.close()
    return canary


def fail(error: LLMasOSError) -> Callable[[], object]:
    def ask() -> None:
        raise error

    return ask


def test_a_canary_that_meets_a_full_queue_is_answered() -> None:
    canary = asked([fail(QueueFullError("full")), lambda: None])
    assert (canary.is_waiting, canary.error) == (False, None)


def test_a_canary_that_times_out_goes_on_waiting() -> None:
    canary = asked([lambda: None, fail(RequestTimeoutError("60 s"))])
    assert (canary.is_waiting, canary.error) == (True, None)
    assert not asked([fail(RequestTimeoutError("60 s")), lambda: None]).is_waiting


def test_a_canary_that_is_refused_says_why() -> None:
    error = EngineStoppedError("the engine has stopped")
    assert asked([fail(error)]).error is error
