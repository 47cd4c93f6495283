"""Restarts come with growing pauses, and have an end."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from llmasos.errors import ServerError
from llmasos_serving.supervisor import supervisor as supervisor_module
from llmasos_serving.supervisor.restart_policy import RestartPolicy
from llmasos_serving.supervisor.supervisor import Supervisor
from llmasos_serving.triton.options import ServerOptions


def test_each_restart_of_a_window_waits_twice_as_long() -> None:
    policy = RestartPolicy(max_restarts=6, first_delay_s=1.0, max_delay_s=10.0, now=lambda: 0.0)
    assert [policy.delay_s() for _ in range(7)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, None]
    assert policy.num_restarts == 6
    assert policy.limit() == "6 restarts within 600 s"


def test_what_happened_long_ago_does_not_count() -> None:
    times = iter([0.0, 50.0, 101.0, 102.0])
    policy = RestartPolicy(
        max_restarts=2, window_s=100.0, first_delay_s=1.0, now=lambda: next(times)
    )
    assert [policy.delay_s() for _ in range(4)] == [1.0, 2.0, 2.0, None]


@dataclass
class FakeServer:
    """Starts as often as it may, and is dead at once."""

    starts: list[int]
    grpc_url: str = "grpc://a:1"
    http_url: str = "http://a:2"
    metrics_url: str = "http://a:3"
    failure: ServerError | None = None
    options: ServerOptions = field(default_factory=ServerOptions)

    def start(self) -> None:
        if len(self.starts) == 2:
            self.starts.append(self.options.num_restarts)
            raise ServerError("not ready within 1 s")
        self.starts.append(self.options.num_restarts)
        self.failure = ServerError("the process of the model engine died")

    def is_running(self) -> bool:
        return False

    def stop(self, *, drain: bool = True) -> None:
        pass

    def log_tail(self) -> str:
        return "a line of the log"

    def options_with_ports(self) -> ServerOptions:
        return self.options


@pytest.mark.parametrize(("restart", "num_starts"), [(True, 4), (False, 1)])
def test_a_server_that_dies_each_time_is_given_up_with_the_last_reason(
    monkeypatch: pytest.MonkeyPatch, *, restart: bool, num_starts: int
) -> None:
    starts: list[int] = []
    said: list[str] = []

    def make(path: Path, options: ServerOptions, *, progress: object) -> FakeServer:
        return FakeServer(starts, options=options)

    monkeypatch.setattr(supervisor_module, "TritonServer", make)
    supervisor = Supervisor(
        Path(),
        ServerOptions(restart=restart),
        None,
        stopping=threading.Event(),
        is_ready=threading.Event(),
        say=said.append,
        policy=RestartPolicy(max_restarts=3, first_delay_s=0.001),
    )
    assert supervisor.run() == 1
    assert starts == list(range(num_starts))
    if restart:
        assert "error: not ready within 1 s" in "\n".join(said)
        assert said[-1].startswith("error: given up after 3 restarts within 600 s; the last: the")
    else:
        assert said[-1] == "a line of the log\nerror: the process of the model engine died"
